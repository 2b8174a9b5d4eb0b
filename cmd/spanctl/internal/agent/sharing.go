package agent

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/spanmesh/span/netlinkapply/sharedport"
	"github.com/spanmesh/span/reconciler"
)

// shareRetry is the pause after which the port is shared again that could not be.
const shareRetry = time.Minute

// sharedConn is a sharedport.Conn.
type sharedConn interface {
	Send(to netip.AddrPort, payload []byte, hops uint8) error
	Receive(take func(from netip.AddrPort, payload []byte)) error
	Close() error
}

func openShared(port uint16, mark uint32) (sharedConn, error) { return sharedport.Open(port, mark) }

// sharing is a share of WireGuard's port. But for its channel, it is for one goroutine.
type sharing struct {
	// without is what does not happen without it, for the log.
	without string
	open    func(port uint16, mark uint32) (sharedConn, error)
	log     *slog.Logger
	// ended has the connections that receive no more.
	ended chan sharedConn

	port uint16
	mark uint32
	// conn is nil if the port could not be shared; it is tried again at a time.
	conn  sharedConn
	again time.Time
}

func newSharing(without string, open func(uint16, uint32) (sharedConn, error), log *slog.Logger) *sharing {
	return &sharing{without: without, open: open, log: log, ended: make(chan sharedConn, 1)}
}

// keep shares a port with a firewall mark, and has take called for what comes, in another goroutine. If
// it cannot, it returns when that is tried again.
func (s *sharing) keep(now time.Time, port uint16, mark uint32, take func(from netip.AddrPort, payload []byte)) (again time.Time) {
	same := s.port == port && s.mark == mark
	if same && (s.conn != nil || now.Before(s.again)) {
		return s.again
	}
	s.stop()
	conn, err := s.open(port, mark)
	s.port, s.mark = port, mark
	if err != nil {
		s.again = now.Add(shareRetry)
		if !same {
			s.log.Warn("WireGuard's port cannot be shared", "without", s.without, "error", err)
		}
		return s.again
	}
	s.conn = conn
	go func() {
		if err := conn.Receive(take); err != nil {
			s.log.Warn("nothing more is received from the shared port", "without", s.without, "error", err)
			s.ended <- conn
		}
	}()
	return time.Time{}
}

// lost takes that a connection receives no more.
func (s *sharing) lost(conn sharedConn, now time.Time) {
	if conn == s.conn {
		_ = conn.Close() // it works no more
		s.conn, s.again = nil, now.Add(shareRetry)
	}
}

// stop shares nothing.
func (s *sharing) stop() {
	if s.conn != nil {
		if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Debug("shared port not closed", "error", err)
		}
	}
	s.port, s.mark, s.conn, s.again = 0, 0, nil, time.Time{}
}

// lastTurn has the last turn of a loop.
type lastTurn chan reconciler.Turn

func newLastTurn() lastTurn { return make(lastTurn, 1) }

// after returns what a loop calls after each turn: it keeps the turn, and passes it on.
func (l lastTurn) after(next func(reconciler.Turn)) func(reconciler.Turn) {
	return func(turn reconciler.Turn) {
		select {
		case <-l:
		default:
		}
		l <- turn // the loop alone sends
		if next != nil {
			next(turn)
		}
	}
}
