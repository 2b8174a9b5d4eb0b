package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/spanmesh/span/netlinkapply/sharedport"
	"github.com/spanmesh/span/reconciler/condition"
)

// portConn is a share of a port that a test feeds.
type portConn struct {
	in     chan string
	failed chan error
	closed bool
}

func (c *portConn) Send(netip.AddrPort, []byte, uint8) error { return nil }

func (c *portConn) Receive(take func(netip.AddrPort, []byte)) error {
	for {
		select {
		case text, open := <-c.in:
			if !open {
				return nil
			}
			take(netip.AddrPort{}, []byte(text))
		case err := <-c.failed:
			return err
		}
	}
}

func (c *portConn) Close() error {
	c.closed = true
	close(c.in)
	return nil
}

// TestOneShareForAll has two users of a port: what comes goes to both, and one more port is opened where
// one of them moves.
func TestOneShareForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened []*portConn
		ports := newSharedPorts(func(uint16, uint32) (sharedConn, error) {
			opened = append(opened, &portConn{in: make(chan string), failed: make(chan error)})
			return opened[len(opened)-1], nil
		}, nil, slog.New(slog.DiscardHandler))
		heard := make(chan string, 8)
		ended := make(chan error, 2)
		use := func(name string, port uint16) sharedConn {
			conn, err := ports.use(port, 32)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				ended <- conn.Receive(func(_ netip.AddrPort, p []byte) { heard <- name + " " + string(p) })
			}()
			synctest.Wait()
			return conn
		}
		one, two := use("one", 51820), use("two", 51820)
		opened[0].in <- "a"
		if first, second := <-heard, <-heard; first == second || len(opened) != 1 {
			t.Errorf("heard %q and %q of %d shares", first, second, len(opened))
		}
		if err := one.Close(); err != nil || <-ended != nil || opened[0].closed {
			t.Errorf("after one has closed it: %v, %v", err, opened[0].closed)
		}
		opened[0].in <- "b"
		if got := <-heard; got != "two b" {
			t.Errorf("heard %q", got)
		}
		one = use("one", 51821)
		if len(opened) != 2 {
			t.Errorf("%d shares are open", len(opened))
		}
		if err := errors.Join(one.Close(), two.Close()); err != nil || <-ended != nil || <-ended != nil || !opened[0].closed || !opened[1].closed {
			t.Errorf("at the end: %v", err)
		}
	})
}

// TestAShareFails has all of its users open another.
func TestAShareFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &portConn{in: make(chan string), failed: make(chan error)}
		ports := newSharedPorts(func(uint16, uint32) (sharedConn, error) { return conn, nil }, nil, slog.New(slog.DiscardHandler))
		ended := make(chan error, 2)
		var users []sharedConn
		for range 2 {
			user, _ := ports.use(51820, 0)
			users = append(users, user)
			go func() { ended <- user.Receive(func(netip.AddrPort, []byte) {}) }()
		}
		synctest.Wait()
		failure := errors.New("the network is down")
		conn.failed <- failure
		if first, second := <-ended, <-ended; !errors.Is(first, failure) || !errors.Is(second, failure) || len(ports.ports) > 0 {
			t.Errorf("the users have %v and %v", first, second)
		}
		if err := errors.Join(users[0].Close(), users[1].Close(), users[0].Close()); err != nil || !conn.closed {
			t.Errorf("closed %v: %v", conn.closed, err)
		}
	})
}

// TestNotShared has the condition shown once for two users, and no longer once the port is shared.
func TestNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		stood := make(chan int, 8)
		ports := newSharedPorts(nil, func(_ context.Context, code condition.Code, found ...condition.Condition) error {
			if code != condition.PortNotShared {
				t.Errorf("%s", code)
			}
			stood <- len(found)
			return nil
		}, slog.New(slog.DiscardHandler))
		go ports.run(ctx)
		users := []*sharing{{}, {}}
		for _, err := range []error{sharedport.ErrNotPermitted, nil} {
			for _, u := range users {
				ports.note(u, err)
				synctest.Wait()
			}
		}
		if first, second := <-stood, <-stood; first != 1 || second != 0 || len(stood) > 0 {
			t.Errorf("%d and %d conditions, then %d times more", first, second, len(stood))
		}
	})
}
