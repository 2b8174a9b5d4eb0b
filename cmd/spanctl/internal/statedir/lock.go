package statedir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is the pause between attempts to get the lock.
const lockPoll = 50 * time.Millisecond

// ErrBusy says that another process works with the directory.
var ErrBusy = errors.New("another spanctl works with this state directory")

// holder is the process that has the lock, as the lock file names it; the zero value is one that
// is not known.
type holder struct {
	pid   int
	agent bool
}

const agentMark = "agent"

func (h holder) String() string {
	switch {
	case h.pid == 0:
		return "a process that is not known"
	case h.agent:
		return fmt.Sprintf("the agent, process %d, which serves another socket, starts or stops", h.pid)
	default:
		return fmt.Sprintf("a command, process %d", h.pid)
	}
}

// acquire locks the directory at path, which it makes if need be. It waits for a command that has
// the lock, but not for longer than limit, and not for an agent.
func acquire(ctx context.Context, path string, agent bool, limit time.Duration) (*os.File, error) {
	if err := os.MkdirAll(path, dirMode); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, fileMode)
	if errors.Is(err, unix.EROFS) {
		// Where nothing can be written, what is there can still be put in force.
		file, err = os.Open(filepath.Join(path, lockFile))
	}
	if err != nil {
		return nil, fmt.Errorf("open the state directory: %w", err)
	}
	if err := await(ctx, file, limit); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the state directory %s: %w", path, err), file.Close())
	}
	name(file, holder{os.Getpid(), agent})
	return file, nil
}

func await(ctx context.Context, file *os.File, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrBusy)
	defer cancel()
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	var before holder
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		// A process that has just got the lock has not named itself yet: twice is for sure.
		now := named(file)
		if now.agent && now == before || limit == 0 {
			return fmt.Errorf("%w: %v", ErrBusy, now)
		}
		before = now
		select {
		case <-poll.C:
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, ErrBusy) {
				return err
			}
			return fmt.Errorf("%w, also after %v: %v", ErrBusy, limit, now)
		}
	}
}

// release gives the lock back. The file has no holder then.
func release(lock *os.File) error {
	_ = lock.Truncate(0) // it is for people
	return lock.Close()
}

// name names the holder in the lock file. It is for people, and needs no space that is missing:
// an error is no reason not to go on.
func name(lock *os.File, h holder) {
	text := fmt.Sprintf("%d\n", h.pid)
	if h.agent {
		text = fmt.Sprintf("%d %s\n", h.pid, agentMark)
	}
	_ = lock.Truncate(0)
	_, _ = lock.WriteAt([]byte(text), 0)
}

// named returns the holder that the lock file names.
func named(lock *os.File) (h holder) {
	text := make([]byte, 64)
	n, _ := lock.ReadAt(text, 0)
	var mark string
	if count, _ := fmt.Sscan(strings.TrimSpace(string(text[:n])), &h.pid, &mark); count == 0 {
		return holder{}
	}
	h.agent = mark == agentMark
	return h
}
