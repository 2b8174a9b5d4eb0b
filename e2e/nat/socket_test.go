package nat

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/net/ipv4"

	"github.com/spanmesh/span/e2e/lab"
)

// socket is a UDP socket of a node.
type socket struct {
	*net.UDPConn
	t *testing.T
}

// within calls open in the network namespace of a node, in which stays what it opens.
func within(t *testing.T, node *lab.Node, open func() error) {
	t.Helper()
	// The thread comes back: the lab ends programs by the namespace of their first thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	if err == nil {
		err = node.Namespace(netns.Set)
	}
	if err == nil {
		err = errors.Join(open(), netns.Set(own), own.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// listen opens a socket of a node.
func listen(t *testing.T, node *lab.Node, address netip.Addr, port uint16) socket {
	t.Helper()
	s := socket{t: t}
	within(t, node, func() (err error) {
		s.UDPConn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, port)))
		return err
	})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// own returns the socket's own address.
func (s socket) own() netip.AddrPort { return s.LocalAddr().(*net.UDPAddr).AddrPort() }

// send sends a text.
func (s socket) send(to netip.AddrPort, text string) {
	s.t.Helper()
	// A port that answered with ICMP before is no failure of this packet.
	for range 2 {
		if _, err := s.WriteToUDPAddrPort([]byte(text), to); err == nil {
			return
		}
	}
	s.t.Fatalf("%v cannot send to %v", s.own(), to)
}

// sendShort sends a text that a few hops forward.
func (s socket) sendShort(to netip.AddrPort, text string, hops int) {
	s.t.Helper()
	conn := ipv4.NewConn(s.UDPConn)
	was, err := conn.TTL()
	if err == nil {
		err = conn.SetTTL(hops)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.send(to, text)
	if err := conn.SetTTL(was); err != nil {
		s.t.Fatal(err)
	}
}

// receive returns the next text and its sender, or "" if none came in a time.
func (s socket) receive(within time.Duration) (text string, from netip.AddrPort) {
	s.t.Helper()
	buffer := make([]byte, 100)
	if err := s.SetReadDeadline(time.Now().Add(within)); err != nil {
		s.t.Fatal(err)
	}
	n, from, err := s.ReadFromUDPAddrPort(buffer)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Fatal(err)
	}
	return string(buffer[:n]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// patience is how long an expected packet may take.
const patience = 20 * time.Second

// wantFrom receives a text, which must come next, and returns its sender.
func (s socket) wantFrom(text string) netip.AddrPort {
	s.t.Helper()
	got, from := s.receive(patience)
	if got != text {
		s.t.Fatalf("%v received %q, want %q", s.own(), got, text)
	}
	return from
}

// until receives texts up to a last one, and reports whether others came before it. Packets of one
// path do not overtake each other.
func (s socket) until(last string) (others []string) {
	s.t.Helper()
	for {
		got, _ := s.receive(patience)
		switch got {
		case last:
			return others
		case "":
			s.t.Fatalf("%v did not receive %q", s.own(), last)
		default:
			others = append(others, got)
		}
	}
}
