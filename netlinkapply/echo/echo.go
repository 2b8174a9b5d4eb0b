package echo

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
)

const (
	// answerWithin is how long an answer is waited for.
	answerWithin = 30 * time.Second
	// maxReplies is how many messages one call of Replies reads at most.
	maxReplies = 4096
)

// Socket sends echoes over one link. The zero value is ready for use.
type Socket struct {
	link   string
	mark   uint32
	fd     int
	raw    bool
	isOpen bool
	// id is the identifier in the requests of a raw socket. The kernel sets that of others.
	id uint16
	// token is the data of every request.
	token [8]byte

	// pending are the requests without an answer, by sequence number. The first is oldest,
	// the next will be next.
	pending      map[uint16]request
	oldest, next uint16
}

// request is an echo that was sent.
type request struct {
	peer mesh.Key
	to   netip.Addr
	at   time.Time
}

// Send sends an echo to each peer, over a link and with a firewall mark. The error has a
// peer.FilteredError for each peer whose echo this machine's firewall refused.
func (s *Socket) Send(link string, mark uint32, probes []peer.Probe) error {
	if len(probes) == 0 {
		return nil
	}
	if err := s.open(link, mark); err != nil {
		return err
	}
	s.forget(time.Now())
	var failures error
	reopened := false
	for _, p := range probes {
		err := s.send(p)
		if err != nil && !reopened {
			// The link may be another one of the same name.
			reopened = true
			s.Close()
			if err = s.open(link, mark); err != nil {
				return err
			}
			err = s.send(p)
		}
		if err != nil {
			failures = errors.Join(failures, fmt.Errorf("echo to %s: %w", p.Address, err))
		}
	}
	return failures
}

func (s *Socket) send(p peer.Probe) error {
	sequence := s.next
	message := icmp.Message{Type: ipv6.ICMPTypeEchoRequest,
		Body: &icmp.Echo{ID: int(s.id), Seq: int(sequence), Data: s.token[:]}}
	data, err := message.Marshal(nil) // the kernel adds the checksum
	if err != nil {
		return err
	}
	at := time.Now()
	err = unix.Sendto(s.fd, data, 0, &unix.SockaddrInet6{Addr: p.Address.As16()})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) {
		return nil // lost on the way, as any packet may be
	}
	if errors.Is(err, unix.EPERM) {
		return &peer.FilteredError{Peer: p.Peer, Err: err}
	}
	if err != nil {
		return err
	}
	if s.pending == nil {
		s.pending = map[uint16]request{}
	}
	s.pending[sequence] = request{peer: p.Peer, to: p.Address, at: at}
	s.next++
	return nil
}

// forget drops the requests to which no answer is expected any more.
func (s *Socket) forget(now time.Time) {
	for ; s.oldest != s.next; s.oldest++ {
		r, waiting := s.pending[s.oldest]
		if waiting && now.Sub(r.at) < answerWithin {
			return
		}
		delete(s.pending, s.oldest)
	}
}

// Replies returns the latest answer of each peer since the last call, sorted by key.
func (s *Socket) Replies() []peer.Reply {
	if !s.isOpen || len(s.pending) == 0 {
		return nil
	}
	var replies []peer.Reply
	var data [128]byte
	var control [64]byte
	for range maxReplies {
		n, controlLength, _, from, err := unix.Recvmsg(s.fd, data[:], control[:], unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			continue // an ICMP error about a request, or a signal
		}
		if reply, ok := s.match(data[:n], control[:controlLength], from); ok {
			replies = append(replies, reply)
		}
	}
	slices.SortStableFunc(replies, func(a, b peer.Reply) int { return a.Peer.Compare(b.Peer) })
	return latest(replies)
}

// latest keeps the last of several answers of a peer.
func latest(replies []peer.Reply) []peer.Reply {
	kept := replies[:0]
	for i, r := range replies {
		if i+1 == len(replies) || replies[i+1].Peer != r.Peer {
			kept = append(kept, r)
		}
	}
	return kept
}

// match returns the reply that a message is, if it answers a pending request.
func (s *Socket) match(data, control []byte, from unix.Sockaddr) (peer.Reply, bool) {
	message, err := icmp.ParseMessage(ipv6.ICMPTypeEchoReply.Protocol(), data)
	if err != nil {
		return peer.Reply{}, false
	}
	echo, is := message.Body.(*icmp.Echo)
	if !is || message.Type != ipv6.ICMPTypeEchoReply || s.raw && echo.ID != int(s.id) || !slices.Equal(echo.Data, s.token[:]) {
		return peer.Reply{}, false
	}
	sequence := uint16(echo.Seq)
	r, waiting := s.pending[sequence]
	if source, is := from.(*unix.SockaddrInet6); !waiting || !is || netip.AddrFrom16(source.Addr) != r.to {
		return peer.Reply{}, false
	}
	delete(s.pending, sequence)
	return peer.Reply{Peer: r.peer, RTT: roundTrip(r.at, arrived(control))}, true
}

// roundTrip returns the time between two readings of the real-time clock; zero if the clock
// was set between them.
func roundTrip(sent, arrived time.Time) time.Duration {
	rtt := arrived.Sub(sent) // arrived has no monotonic clock
	if rtt <= 0 || rtt > cmp.Or(time.Since(sent), answerWithin) {
		return 0
	}
	return rtt
}

// arrived returns when the kernel received a message.
func arrived(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}
	}
	for _, m := range messages {
		var t unix.Timespec
		if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SCM_TIMESTAMPNS {
			continue
		}
		if _, err := binary.Decode(m.Data, binary.NativeEndian, &t); err == nil {
			return time.Unix(t.Unix())
		}
	}
	return time.Time{}
}
