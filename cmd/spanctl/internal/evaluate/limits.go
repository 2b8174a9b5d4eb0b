package evaluate

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// limit is what an evaluation used up.
type limit int

const (
	limitTime limit = iota + 1
	limitMemory
)

// Limits are what an evaluation may use.
type Limits struct {
	// Time is how long it may run on processors, in whole seconds.
	Time time.Duration
	// Wait is how long it may take on a machine that is busy with other things.
	Wait time.Duration
	// Memory is how much memory it may use, in bytes.
	Memory uint64
}

// usual are the limits where none are set. A config of 1,000 peers takes less than a second.
var usual = Limits{Time: 10 * time.Second, Wait: 30 * time.Second, Memory: 512 << 20}

const (
	// mapped is how many times its memory the kernel lets the child map, should it outrun its
	// own count.
	mapped = 16
	// processors is on how many processors the child may run.
	processors = "2"
	// memoryPoll is how often the child measures its memory.
	memoryPoll = 5 * time.Millisecond
)

// confine gives this process its limits, and takes what it does not need. What the kernel or a
// filter of system calls refuses is left out: the parent ends the child all the same.
func confine(l Limits) {
	seconds := uint64(l.Time / time.Second)
	_ = unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: seconds, Max: seconds + 2})
	_ = unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: mapped * l.Memory, Max: mapped * l.Memory})
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	debug.SetMemoryLimit(int64(l.Memory * 3 / 4))
	// Where memory runs out, the kernel ends this process and not the agent.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	dropPrivileges()
}

// dropPrivileges leaves only the capability to read the files that a config imports.
func dropPrivileges() {
	_, _, _ = syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var has [2]unix.CapUserData
	if unix.Capget(&header, &has[0]) != nil {
		return
	}
	left := has[0].Permitted & (1 << unix.CAP_DAC_READ_SEARCH)
	want := [2]unix.CapUserData{{Effective: left, Permitted: left}}
	_, _, _ = syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&want[0])), 0)
}

// awaitMemory returns once this process uses more memory than limit, in bytes.
func awaitMemory(limit uint64) {
	use := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for {
		metrics.Read(use)
		if use[0].Value.Uint64()-use[1].Value.Uint64() > limit {
			return
		}
		time.Sleep(memoryPoll)
	}
}
