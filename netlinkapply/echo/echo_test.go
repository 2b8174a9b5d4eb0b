package echo

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
)

// TestLoopback sends echoes to the machine itself, through a socket of each kind.
func TestLoopback(t *testing.T) {
	for _, c := range []struct {
		name string
		kind int
	}{{"raw", unix.SOCK_RAW}, {"datagram", unix.SOCK_DGRAM}} {
		t.Run(c.name, func(t *testing.T) {
			s := Socket{}
			defer s.Close()
			open(t, &s, c.kind)
			probes := []peer.Probe{{Peer: mesh.Key{2}, Address: netip.IPv6Loopback()}, {Peer: mesh.Key{1}, Address: netip.IPv6Loopback()},
				{Peer: mesh.Key{2}, Address: netip.IPv6Loopback()}}
			if err := s.Send("lo", 0, probes); err != nil {
				t.Fatal(err)
			}
			replies := await(t, &s)
			if len(replies) != 2 || replies[0].Peer != (mesh.Key{1}) || replies[1].Peer != (mesh.Key{2}) {
				t.Fatalf("replies are %v", replies)
			}
			for _, r := range replies {
				if r.RTT <= 0 || r.RTT > 10*time.Second {
					t.Errorf("the round-trip time is %v", r.RTT)
				}
			}
			if len(s.pending) != 0 || len(s.Replies()) != 0 {
				t.Error("an answer is taken twice")
			}
		})
	}
}

// TestForeignAnswers has answers arrive that are of no request of the socket.
func TestForeignAnswers(t *testing.T) {
	var s, other Socket
	defer s.Close()
	defer other.Close()
	open(t, &s, unix.SOCK_RAW)
	open(t, &other, unix.SOCK_RAW)
	loopback := []peer.Probe{{Peer: mesh.Key{1}, Address: netip.IPv6Loopback()}}
	// The kernel drops the answers to another socket.
	if err := other.Send("lo", 0, loopback); err != nil {
		t.Fatal(err)
	}
	await(t, &other)
	s.pending = map[uint16]request{0: {peer: mesh.Key{1}, to: netip.IPv6Loopback(), at: time.Now()}}
	if replies := s.Replies(); len(replies) != 0 {
		t.Errorf("answers to another socket are taken: %v", replies)
	}
	// An answer that comes from another address than the request went to.
	if err := s.Send("lo", 0, loopback); err != nil {
		t.Fatal(err)
	}
	for sequence, r := range s.pending {
		r.to = netip.MustParseAddr("fd00::1")
		s.pending[sequence] = r
	}
	if err := other.Send("lo", 0, loopback); err != nil {
		t.Fatal(err)
	}
	await(t, &other) // it was sent later
	if replies := s.Replies(); len(replies) != 0 {
		t.Errorf("an answer from another address is taken: %v", replies)
	}
}

func TestForget(t *testing.T) {
	s := Socket{pending: map[uint16]request{65535: {at: time.Unix(1, 0)}, 1: {at: time.Unix(20, 0)}}, oldest: 65535, next: 2}
	s.forget(time.Unix(31, 0))
	if len(s.pending) != 1 || s.oldest != 1 {
		t.Errorf("%d are pending, the oldest is %d", len(s.pending), s.oldest)
	}
	s.forget(time.Unix(50, 0))
	if len(s.pending) != 0 || s.oldest != 2 {
		t.Errorf("%d are pending, the oldest is %d", len(s.pending), s.oldest)
	}
}

func TestRoundTrip(t *testing.T) {
	sent := time.Now().Add(-time.Second)
	for _, c := range []struct {
		name    string
		arrived time.Time
		want    time.Duration
	}{
		{"half a second", sent.Round(0).Add(time.Second / 2), time.Second / 2},
		{"the clock was set back", sent.Round(0).Add(-time.Hour), 0},
		{"the clock was set forward", sent.Round(0).Add(time.Hour), 0},
		{"no time of arrival", time.Time{}, 0},
	} {
		if got := roundTrip(sent, c.arrived); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// FuzzMatch feeds messages from the tunnel.
func FuzzMatch(f *testing.F) {
	f.Add([]byte{129, 0, 0, 0, 0, 7, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0}, []byte{})
	f.Fuzz(func(t *testing.T, data, control []byte) {
		s := Socket{raw: true, id: 7, pending: map[uint16]request{3: {to: netip.IPv6Loopback(), at: time.Now()}}}
		reply, ok := s.match(data, control, &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()})
		if ok && (len(data) != 16 || reply.RTT < 0) {
			t.Errorf("%x is taken for a reply: %v", data, reply)
		}
	})
}

// open opens a socket of a kind.
func open(t *testing.T, s *Socket, kind int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.adopt(fd, kind == unix.SOCK_RAW, "lo", 0); err != nil {
		t.Fatal(err)
	}
}

// await waits for an answer to all that was sent.
func await(t *testing.T, s *Socket) (replies []peer.Reply) {
	t.Helper()
	for len(s.pending) > 0 {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, 10_000)
		if n == 0 || err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatalf("%d answers are missing: %v", len(s.pending), err)
		}
		replies = append(replies, s.Replies()...)
	}
	slices.SortStableFunc(replies, func(a, b peer.Reply) int { return a.Peer.Compare(b.Peer) })
	return latest(replies)
}
