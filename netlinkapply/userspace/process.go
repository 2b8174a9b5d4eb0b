package userspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/detached"
)

const (
	// connectTimeout is how long to wait for a connection to the control socket.
	connectTimeout = time.Second
	// AnswerTimeout is how long the process may take to answer. 5,000 peers take a second.
	AnswerTimeout = 5 * time.Second
)

// UnresponsiveError is the error of a process that does not answer within AnswerTimeout.
type UnresponsiveError struct {
	Link string
	// PID is the ID of the process; 0 if it is not visible here.
	PID int
	// State is the state of the process (proc_pid_stat(5)), such as "T" for stopped.
	State string
	// Lost is set if the process runs, and its control socket is not at its path any more.
	Lost bool
}

func (e *UnresponsiveError) Error() string {
	state := ""
	switch e.State {
	case "T", "t":
		state = ": it is stopped"
	case "D":
		state = ": it waits in the kernel"
	}
	who := "the WireGuard process"
	if e.PID != 0 {
		who += fmt.Sprintf(" %d", e.PID)
	}
	if e.Lost {
		return fmt.Sprintf("%s of link %s cannot be reached: its control socket %s was removed", who, e.Link, socketPath(e.Link))
	}
	return fmt.Sprintf("%s of link %s does not answer within %v%s", who, e.Link, AnswerTimeout, state)
}

// use connects to the process of the link and talks to it within AnswerTimeout.
func use(link string, talk func(net.Conn) error) error {
	c, err := dial(link)
	if errors.Is(err, unix.EAGAIN) {
		return &UnresponsiveError{Link: link} // it accepts no connection, and more do not fit
	}
	if err != nil {
		if p := find(link); p != nil {
			defer p.Close()
			return &UnresponsiveError{Link: link, PID: p.PID, Lost: true}
		}
		return fmt.Errorf("connect to the WireGuard process of %s: %w", link, err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(AnswerTimeout)); err != nil {
		return err
	}
	if err := talk(c); !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	pid, err := detached.PIDOf(c)
	if err != nil {
		return err
	}
	return &UnresponsiveError{Link: link, PID: pid, State: detached.StateOf(pid)}
}

// Exists reports whether there is a process for the link: it may be stopped, or have lost its control
// socket.
func Exists(link string) bool {
	c, err := dial(link)
	if err == nil {
		return c.Close() == nil
	}
	if errors.Is(err, unix.EAGAIN) {
		return true
	}
	p := find(link)
	if p != nil {
		p.Close()
	}
	return p != nil
}

func dial(link string) (*net.UnixConn, error) {
	c, err := net.DialTimeout("unix", socketPath(link), connectTimeout)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// process is a WireGuard process.
type process struct {
	*detached.Process
	link string
	// isHere is set if the process is known to be in this network namespace. That of a process
	// with more privileges is not known.
	isHere bool
}

// openProcess returns the process that serves the link's control socket, or has lost it. A program that
// spanctl did not start is an error.
func openProcess(link string) (*process, error) {
	c, err := dial(link)
	if err != nil {
		if p := find(link); p != nil {
			return p, nil
		}
		return nil, fmt.Errorf("find the WireGuard process of %s: %w", link, err)
	}
	defer func() { _ = c.Close() }()
	pid, err := detached.PIDOf(c)
	if err != nil {
		return nil, fmt.Errorf("find the WireGuard process of %s: %w", link, err)
	}
	opened, err := detached.Open(pid)
	if err != nil {
		return nil, fmt.Errorf("find the WireGuard process %d of %s: %w", pid, link, err)
	}
	p := &process{Process: opened, link: link}
	if !p.isOurs() {
		p.Close()
		return nil, fmt.Errorf("process %d serves %s, and spanctl did not start it: stop that program", pid, socketPath(link))
	}
	return p, nil
}

// isOurs reports whether spanctl started the process for the link, in this network namespace.
// Control sockets of several namespaces may be in one directory.
func (p *process) isOurs() bool {
	if !IsProcessOf(p.PID, p.link) {
		return false
	}
	here, err := os.Readlink("/proc/self/ns/net")
	there, unknown := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.PID))
	p.isHere = err == nil && unknown == nil && here == there
	// While the process has not ended, no other has its ID.
	return (p.isHere || unknown != nil) && !p.Ended()
}

// end sends a signal and reports whether the process then ends.
func (p *process) end(ctx context.Context, signal unix.Signal) (bool, error) {
	ended, err := p.End(ctx, signal)
	if err != nil {
		return false, fmt.Errorf("end the WireGuard process %d of %s: %w", p.PID, p.link, err)
	}
	return ended, nil
}

// Stop calls remove, which must delete the link, and waits for its process. The process ends by
// itself without its device; if it does not, Stop ends it.
func Stop(ctx context.Context, link string, remove func() error) error {
	p, err := openProcess(link)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := remove(); err != nil {
		return err
	}
	if p.AwaitEnd(ctx) {
		return nil
	}
	if ended, err := p.end(ctx, unix.SIGTERM); ended || err != nil {
		return err
	}
	return p.kill(ctx)
}

// Kill ends the process of the link at once. The link goes with it.
func Kill(ctx context.Context, link string) error {
	p, err := openProcess(link)
	if err != nil {
		return err
	}
	defer p.Close()
	if !p.isHere {
		return fmt.Errorf("not permitted to see whether the WireGuard process %d of %s is in this network namespace: end it with `kill -KILL %d` if it is", p.PID, link, p.PID)
	}
	return p.kill(ctx)
}

func (p *process) kill(ctx context.Context) error {
	ended, err := p.end(ctx, unix.SIGKILL)
	if err != nil {
		return err
	}
	if !ended {
		return fmt.Errorf("the WireGuard process %d of %s does not end after SIGKILL: it waits in the kernel", p.PID, p.link)
	}
	// The next process would find that nobody serves it.
	_ = os.Remove(socketPath(p.link))
	return nil
}

// DeviceName returns the present name of the TUN device that the process of the link serves:
// it may have been renamed.
func DeviceName(link string) (string, error) {
	p, err := openProcess(link)
	if err != nil {
		return "", err
	}
	defer p.Close()
	return deviceOf(p.PID), nil
}
