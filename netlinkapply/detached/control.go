package detached

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// MaxMessage is the size of the largest request, and of the largest answer, in bytes.
	MaxMessage = 1 << 20
	// answerTimeout is how long a process may take to answer, and a caller to ask.
	answerTimeout = 5 * time.Second
	// watchInterval is how often a process looks whether its socket is still there.
	watchInterval = 2 * time.Second
	// maxCalls is how many requests are answered at once.
	maxCalls = 16

	socketSuffix = ".sock"
)

// ErrGone is the error of a socket whose file was removed or replaced.
var ErrGone = errors.New("the control socket was removed")

// Socket is the control socket of this process.
type Socket struct {
	listener *net.UnixListener
	path     string
	file     os.FileInfo
}

// Listen makes the control socket with a name in a directory, which it makes if need be. It replaces
// that of an earlier process.
func Listen(dir, name string) (*Socket, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name+socketSuffix)
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	_ = os.Remove(fresh)
	address, done, err := shortened(fresh)
	if err != nil {
		return nil, err
	}
	defer done()
	umask := syscall.Umask(0o177)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	syscall.Umask(umask)
	if err != nil {
		return nil, fmt.Errorf("open the control socket %s: %w", path, err)
	}
	listener.SetUnlinkOnClose(false)
	s := &Socket{listener: listener, path: path}
	if s.file, err = os.Lstat(fresh); err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the control socket %s: %w", path, err), os.Remove(fresh), listener.Close())
	}
	return s, nil
}

// Serve answers the requests of connections until ctx ends. It returns ErrGone once the socket's file
// is another's or none.
func (s *Socket) Serve(ctx context.Context, answer func(c *net.UnixConn, request []byte) []byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	context.AfterFunc(ctx, func() { _ = s.listener.Close() })
	go s.watch(ctx, cancel)
	free := make(chan struct{}, maxCalls)
	for {
		c, err := s.listener.AcceptUnix()
		if err != nil {
			switch cause := context.Cause(ctx); {
			case errors.Is(cause, ErrGone):
				return ErrGone
			case cause != nil:
				return nil
			default:
				return err
			}
		}
		free <- struct{}{}
		go func() {
			defer func() { <-free; _ = c.Close() }()
			serve(c, answer)
		}()
	}
}

func serve(c *net.UnixConn, answer func(*net.UnixConn, []byte) []byte) {
	if err := c.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return
	}
	request, err := readAll(c)
	if err != nil {
		return
	}
	_, _ = c.Write(answer(c, request)) // the caller sees that there is none
}

// watch ends the context with ErrGone when the socket's file is no longer there.
func (s *Socket) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for s.isThere() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	cancel(ErrGone)
}

func (s *Socket) isThere() bool {
	there, err := os.Lstat(s.path)
	return err == nil && os.SameFile(there, s.file)
}

// Remove removes the socket's file, unless it is that of a later process.
func (s *Socket) Remove() {
	if s.isThere() {
		_ = os.Remove(s.path)
	}
}

func readAll(c io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(c, MaxMessage+1))
	if err == nil && len(text) > MaxMessage {
		return nil, fmt.Errorf("the message has more than %d bytes", MaxMessage)
	}
	return text, err
}

// shortened returns a path by which a socket can be addressed: one in an address has at most 107
// bytes (unix(7)). The caller calls done once it has used it.
func shortened(path string) (address string, done func(), err error) {
	if len(path) < len(unix.RawSockaddrUnix{}.Path) {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { _ = dir.Close() }, nil
}
