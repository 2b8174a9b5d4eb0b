package agent

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/spanmesh/span/netlinkapply/sharedport"
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
	open func(port uint16, mark uint32) (sharedConn, error)
	// note takes why the port cannot be shared; nil if it is, or is not to be.
	note func(err error)
	log  *slog.Logger
	// ended has the connections that receive no more.
	ended chan sharedConn

	port uint16
	mark uint32
	// conn is nil if the port could not be shared; it is tried again at a time.
	conn  sharedConn
	again time.Time
}

func newSharing(open func(uint16, uint32) (sharedConn, error), note func(error), log *slog.Logger) *sharing {
	return &sharing{open: open, note: note, log: log, ended: make(chan sharedConn, 1)}
}

// keep shares a port with a firewall mark, and has take called for what comes, in another goroutine. If
// it cannot, it returns when that is tried again.
func (s *sharing) keep(now time.Time, port uint16, mark uint32, take func(from netip.AddrPort, payload []byte)) (again time.Time) {
	same := s.port == port && s.mark == mark
	if same && (s.conn != nil || now.Before(s.again)) {
		return s.again
	}
	s.close()
	conn, err := s.open(port, mark)
	s.port, s.mark = port, mark
	s.note(err)
	if err != nil {
		s.again = now.Add(shareRetry)
		return s.again
	}
	s.conn = conn
	go func() {
		if err := conn.Receive(take); err != nil {
			s.log.Debug("nothing more is received from the shared port", "error", err)
			s.ended <- conn
		}
	}()
	return time.Time{}
}

// lost notes that a connection has failed.
func (s *sharing) lost(conn sharedConn, now time.Time) {
	if conn == s.conn {
		_ = conn.Close() // it works no more
		s.conn, s.again = nil, now.Add(shareRetry)
	}
}

// stop shares nothing.
func (s *sharing) stop() {
	s.close()
	s.note(nil)
}

func (s *sharing) close() {
	if s.conn != nil {
		if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Debug("shared port not closed", "error", err)
		}
	}
	s.port, s.mark, s.conn, s.again = 0, 0, nil, time.Time{}
}
