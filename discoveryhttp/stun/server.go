package stun

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// perSecond and burst are the rate of one address, or of one IPv6 /64. All machines behind a NAT
	// share its address.
	perSecond, burst = 20, 200
	// allPerSecond and allBurst are the rate of all addresses together: at most 0.5 MB a second.
	allPerSecond, allBurst = 10_000, 20_000
	// buckets is how many rates are kept. Addresses may share one, so that a flood from forged
	// addresses takes no memory.
	buckets = 1 << 14
	// subnetBits is the prefix length of the smallest IPv6 network that a site gets (RFC 6177).
	subnetBits = 64
	// failurePause is the pause after a failure to receive.
	failurePause = 100 * time.Millisecond
)

// Counts are what a server has done with the datagrams that came.
type Counts struct {
	// Answered are the requests that were answered, Limited those beyond a rate, and Refused what was
	// no request, or one smaller than its answer. Failed are answers that could not be sent.
	Answered, Limited, Refused, Failed uint64
}

// Server answers requests. Its methods are safe for concurrent use.
type Server struct {
	log  *slog.Logger
	seed maphash.Seed
	all  *rate.Limiter

	mu sync.Mutex
	// turns are, for each bucket, when its next request would be on time at the rate: the generic
	// cell rate algorithm (ITU-T I.371). They count from epoch.
	turns [buckets]time.Duration
	epoch time.Time

	answered, limited, refused, failed atomic.Uint64
}

// NewServer returns a server.
func NewServer(log *slog.Logger) *Server {
	return &Server{log: log, seed: maphash.MakeSeed(), all: rate.NewLimiter(allPerSecond, allBurst), epoch: time.Now()}
}

// Counts returns what the server has done.
func (s *Server) Counts() Counts {
	return Counts{Answered: s.answered.Load(), Limited: s.limited.Load(), Refused: s.refused.Load(), Failed: s.failed.Load()}
}

// admit reports whether a request from an address may be answered at a time.
func (s *Server) admit(from netip.Addr, now time.Time) bool {
	if from.Is6() {
		prefix, err := from.Prefix(subnetBits)
		if err != nil {
			return false // not reached: the length is valid
		}
		from = prefix.Addr()
	}
	const interval = time.Second / perSecond
	key := from.As16()
	s.mu.Lock()
	turn := &s.turns[maphash.Bytes(s.seed, key[:])%buckets]
	next := max(*turn, now.Sub(s.epoch)) + interval
	inTime := next-now.Sub(s.epoch) <= burst*interval
	if inTime {
		*turn = next
	}
	s.mu.Unlock()
	return inTime && s.all.AllowN(now, 1)
}

// Listen opens a socket for Serve. A socket of all addresses answers from the address that was asked:
// elsewhere, a NAT would not let the answer through.
func Listen(ctx context.Context, address string) (*net.UDPConn, error) {
	packets, err := new(net.ListenConfig).ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	conn, is := packets.(*net.UDPConn)
	if !is {
		return nil, errors.Join(fmt.Errorf("%s is no address of UDP", address), packets.Close())
	}
	if err := tellDestination(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// Serve answers what comes to a socket of Listen until ctx ends, and closes it.
func (s *Server) Serve(ctx context.Context, conn *net.UDPConn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var a answerer
	message, control := make([]byte, MaxMessage+1), make([]byte, controlSize)
	for {
		n, controlLength, _, from, err := conn.ReadMsgUDPAddrPort(message, control)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			s.log.Debug("request of STUN not received", "error", err)
			time.Sleep(failurePause)
			continue
		}
		s.answer(conn, &a, message[:n], replyControl(control[:controlLength]), from)
	}
}

func (s *Server) answer(conn *net.UDPConn, a *answerer, message, control []byte, from netip.AddrPort) {
	answer := s.admitted(a, message, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	if answer == nil {
		return
	}
	if _, _, err := conn.WriteMsgUDPAddrPort(answer, control, from); err != nil {
		s.failed.Add(1)
		return
	}
	s.answered.Add(1)
}

// admitted returns the answer to a message; nil for what is no request, and beyond a rate.
func (s *Server) admitted(a *answerer, message []byte, from netip.AddrPort) []byte {
	answer, ok := a.to(message, from)
	switch {
	case !ok || from.Port() == 0:
		s.refused.Add(1)
	case !s.admit(from.Addr(), time.Now()):
		s.limited.Add(1)
	default:
		return answer
	}
	return nil
}

// Answerer returns what answers messages that come to another's socket, for one goroutine. An answer
// holds until the next call, and is nil for a message that has none.
func (s *Server) Answerer() func(from netip.AddrPort, message []byte) (answer []byte) {
	var a answerer
	return func(from netip.AddrPort, message []byte) []byte {
		answer := s.admitted(&a, message, from)
		if answer != nil {
			s.answered.Add(1)
		}
		return answer
	}
}
