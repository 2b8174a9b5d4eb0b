package agent

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
)

// bootID identifies the time since the kernel started (random(4)). Where it cannot be read, it
// identifies the time since the process started.
var bootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Sprintf("process %d of %d", os.Getpid(), time.Now().UnixNano())
	}
	return strings.TrimSpace(string(id))
})

// machineNow returns the time of the machine. CLOCK_BOOTTIME goes on in suspend, and cannot be
// set (clock_gettime(2)).
func machineNow() trial.Moment {
	var up unix.Timespec
	// Every kernel that has WireGuard has this clock.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &up)
	return trial.Moment{Boot: bootID(), Up: time.Duration(up.Nano()), Wall: time.Now().Round(0)}
}
