package detached

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// endTimeout is how long to wait for a process to end, before and after each signal.
const endTimeout = 5 * time.Second

// Process is a process by a file descriptor (pidfd_open(2)), so that no other is meant once it has
// ended. It must be closed.
type Process struct {
	// PID is its ID.
	PID int
	fd  int
}

// Open returns the process with an ID.
func Open(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	return &Process{PID: pid, fd: fd}, nil
}

// Close gives the file descriptor back. The process goes on.
func (p *Process) Close() { _ = unix.Close(p.fd) }

// End sends a signal and reports whether the process then ends.
func (p *Process) End(ctx context.Context, signal unix.Signal) (bool, error) {
	if err := unix.PidfdSendSignal(p.fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return false, err
	}
	return p.AwaitEnd(ctx), nil
}

// AwaitEnd waits a few seconds for the process and reports whether it has ended.
func (p *Process) AwaitEnd(ctx context.Context) bool {
	const step = 100 * time.Millisecond
	for deadline := time.Now().Add(endTimeout); ctx.Err() == nil && time.Now().Before(deadline); {
		if p.endsWithin(step) {
			return true
		}
	}
	return false
}

// Ended reports whether the process has ended.
func (p *Process) Ended() bool { return p.endsWithin(0) }

func (p *Process) endsWithin(d time.Duration) bool {
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(d.Milliseconds()))
	return n > 0
}

// PIDOf returns the ID of the process that listens at the other end of a connection (unix(7),
// SO_PEERCRED); 0 if it is not visible here.
func PIDOf(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var credentials *unix.Ucred
	var failure error
	err = raw.Control(func(fd uintptr) {
		credentials, failure = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, failure); err != nil {
		return 0, err
	}
	return int(credentials.Pid), nil
}

// StateOf returns the state of a process (proc_pid_stat(5)), such as "T" for stopped; "" if it is not
// known.
func StateOf(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name of the program, in parentheses, may have any character.
	text := string(stat)
	state, _, _ := strings.Cut(text[strings.LastIndex(text, ") ")+2:], " ")
	return state
}
