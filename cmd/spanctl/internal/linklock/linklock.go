// Package linklock lets one process at a time work with a mesh link.
//
// The lock of a link is an abstract unix socket (unix(7)). Such a name belongs to the network
// namespace, as the link does. So the lock also holds against agents in containers with the
// machine's network, whatever directories they have. It ends with its process, so that none is
// left behind.
package linklock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/peercred"
	"github.com/spanmesh/span/reconciler/condition"
)

const (
	// answerTimeout is how long to wait for the holder's state directory: it may be stopped.
	answerTimeout = time.Second
	// maxAnswer is the longest path in bytes (PATH_MAX).
	maxAnswer = 4096
)

// Locks are the locks that this process holds. Its methods are safe for concurrent use.
type Locks struct {
	stateDir string
	log      *slog.Logger

	mu sync.Mutex
	// held are the sockets by the names of links. A nil one could not be had, and is not
	// tried again.
	held map[string]net.Listener
}

// New returns no locks yet. A process that is refused a lock learns stateDir.
func New(stateDir string, log *slog.Logger) *Locks {
	return &Locks{stateDir: stateDir, log: log, held: map[string]net.Listener{}}
}

// heldBy returns the error of a lock that another process holds.
func heldBy(link string, h holder) error {
	who := fmt.Sprintf("another spanctl, process %d", h.pid)
	if h.pid == 0 {
		who = "another spanctl, in another container"
	}
	if h.stateDir != "" {
		who += " with state directory " + h.stateDir
	}
	return &condition.Error{Condition: condition.Condition{
		Code:    condition.SecondAgent,
		Subject: link,
		Cause:   fmt.Sprintf("link %s belongs to %s", link, who),
		Remedy:  "stop one of the two, or give one another interfaceName, listenPort, fwmark, routingTable and rulePriority in machine.network.kubespan",
	}}
}

// Hold takes the locks of these links, and gives all others back that it took.
func (l *Locks) Hold(links ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, link := range links {
		if _, held := l.held[link]; held {
			continue
		}
		socket, err := l.take(link)
		if err != nil {
			return err
		}
		l.held[link] = socket
	}
	for link := range l.held {
		if !slices.Contains(links, link) {
			l.release(link)
		}
	}
	return nil
}

// Close gives all locks back.
func (l *Locks) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for link := range l.held {
		l.release(link)
	}
}

func (l *Locks) release(link string) {
	if socket := l.held[link]; socket != nil {
		_ = socket.Close()
	}
	delete(l.held, link)
}

// take returns the socket that is the lock of a link. It is nil where a user without
// privileges has the name: that must not keep the agent out.
func (l *Locks) take(link string) (net.Listener, error) {
	name := "@spanctl/" + link
	socket, err := new(net.ListenConfig).Listen(context.Background(), "unix", name)
	if errors.Is(err, unix.EADDRINUSE) {
		holder, err := ask(name)
		if err != nil {
			return nil, fmt.Errorf("lock link %s: %w", link, err)
		}
		if holder.uid != 0 && holder.uid != os.Geteuid() {
			l.log.Warn("lock of the link taken by an unprivileged user; a second agent would not be noticed", "link", link, "user", holder.uid, "pid", holder.pid)
			return nil, nil
		}
		return nil, heldBy(link, holder)
	}
	if err != nil {
		return nil, fmt.Errorf("lock link %s: %w", link, err)
	}
	// It ends when the socket is closed.
	go l.answer(socket)
	return socket, nil
}

// answer sends the state directory to each process that connects.
func (l *Locks) answer(socket net.Listener) {
	for {
		c, err := socket.Accept()
		if err != nil {
			return
		}
		// A path fits in the socket's buffer.
		_, _ = io.WriteString(c, l.stateDir)
		_ = c.Close()
	}
}

// Other returns the error of a link whose lock another process holds that works with another state
// directory; nil if there is none.
func Other(link, stateDir string) error {
	h, err := ask("@spanctl/" + link)
	if err != nil || h.stateDir == "" || sameDir(h.stateDir, stateDir) || h.uid != 0 && h.uid != os.Geteuid() {
		return nil // nobody answers, or an unprivileged user does
	}
	return heldBy(link, h)
}

// sameDir reports whether two paths are those of one directory.
func sameDir(a, b string) bool {
	one, err := os.Stat(a)
	other, otherErr := os.Stat(b)
	if err != nil || otherErr != nil {
		return filepath.Clean(a) == filepath.Clean(b)
	}
	return os.SameFile(one, other)
}

// holder is the process that holds a lock.
type holder struct {
	pid, uid int
	stateDir string
}

// ask returns who holds the lock with a name.
func ask(name string) (h holder, err error) {
	c, err := net.DialTimeout("unix", name, answerTimeout)
	if err != nil {
		return h, err
	}
	defer func() { _ = c.Close() }()
	credentials, err := peercred.Of(c.(*net.UnixConn))
	if err != nil {
		return h, err
	}
	h.pid, h.uid = int(credentials.Pid), int(credentials.Uid)
	if err := c.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return h, err
	}
	text, _ := io.ReadAll(io.LimitReader(c, maxAnswer)) // a holder that is stopped does not answer
	h.stateDir = string(text)
	return h, nil
}
