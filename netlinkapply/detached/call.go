package detached

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNone is the error of a call where there is no process.
var ErrNone = errors.New("there is no such process")

// Call sends a request to the process with a name in a directory, and returns its answer. The error
// is ErrNone if there is none, and an UnresponsiveError if it does not answer.
func Call(ctx context.Context, dir, name string, request []byte) ([]byte, error) {
	c, err := Dial(dir, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })()
	answer, err := Ask(c, request)
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		pid, _ := PIDOf(c)
		return nil, &UnresponsiveError{Name: name, PID: pid, State: StateOf(pid)}
	}
	return answer, errors.Join(err, ctx.Err())
}

// Ask sends a request over a connection that Dial has made, and returns the answer.
func Ask(c *net.UnixConn, request []byte) ([]byte, error) {
	if len(request) > MaxMessage {
		return nil, fmt.Errorf("the request has %d bytes, more than %d", len(request), MaxMessage)
	}
	if err := c.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	if err := c.CloseWrite(); err != nil {
		return nil, err
	}
	return readAll(c)
}

// Dial connects to the process with a name in a directory. The error is ErrNone if there is none.
func Dial(dir, name string) (*net.UnixConn, error) {
	address, done, err := shortened(filepath.Join(dir, name+socketSuffix))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := net.DialTimeout("unix", address, answerTimeout)
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return nil, ErrNone
	case errors.Is(err, unix.EAGAIN):
		return nil, &UnresponsiveError{Name: name} // it accepts no connection, and more do not fit
	case err != nil:
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// UnresponsiveError is the error of a process that does not answer in time.
type UnresponsiveError struct {
	Name string
	// PID is its ID; 0 if it is not known.
	PID int
	// State is its state (proc_pid_stat(5)), such as "T" for stopped.
	State string
}

func (e *UnresponsiveError) Error() string {
	if e.State == "T" || e.State == "t" {
		return fmt.Sprintf("process %d of %s is stopped", e.PID, e.Name)
	}
	return fmt.Sprintf("process %d of %s does not answer within %v", e.PID, e.Name, answerTimeout)
}

// End ends the process with a name in a directory, by force if need be, and removes its socket. That
// there is none is no error.
func End(ctx context.Context, dir, name string) error {
	c, err := Dial(dir, name)
	if errors.Is(err, ErrNone) {
		return removeIfThere(filepath.Join(dir, name+socketSuffix))
	}
	if err != nil {
		return err
	}
	pid, err := PIDOf(c)
	_ = c.Close()
	if err != nil {
		return err
	}
	p, err := Open(pid)
	if errors.Is(err, unix.ESRCH) {
		return removeIfThere(filepath.Join(dir, name+socketSuffix))
	}
	if err != nil {
		return fmt.Errorf("end process %d of %s: %w", pid, name, err)
	}
	defer p.Close()
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		ended, err := p.End(ctx, signal)
		if err != nil {
			return fmt.Errorf("end process %d of %s: %w", pid, name, err)
		}
		if ended {
			return removeIfThere(filepath.Join(dir, name+socketSuffix))
		}
		if ctx.Err() != nil { // it has had no time to save what it knows
			return fmt.Errorf("end process %d of %s: %w", pid, name, ctx.Err())
		}
	}
	return fmt.Errorf("process %d of %s does not end after SIGKILL: it waits in the kernel", pid, name)
}

// Names returns the names of the processes whose sockets are in a directory. They may have ended.
func Names(dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if name, found := strings.CutSuffix(e.Name(), socketSuffix); found {
			names = append(names, name)
		}
	}
	return names
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
