package server

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/metadata"

	"github.com/spanmesh/span/discoveryhttp/server/door"
)

// grpcConn is a connection that serves gRPC. It is also the address that gRPC knows of the
// peer, so that a call finds its connection.
type grpcConn struct {
	net.Conn
	// peer is the address of the other end.
	peer netip.Addr
	// proxy is set if that is a trusted proxy.
	proxy bool
	// stuck is the number of bytes that ended calls have left for readers that take nothing.
	stuck   atomic.Int64
	answers answers
	// orphans are what gRPC has not sent of calls that are over; nil once the connection is
	// closed.
	orphansMu sync.Mutex
	orphans   map[*orphan]struct{}
	// calls are the open calls; nil once the connection is closed. ended are those that are over
	// with the next write.
	callsMu sync.Mutex
	calls   map[*openCall]struct{}
	ended   []*openCall
	// refused is the number of calls that were refused since the last write began.
	refused int
	// gone is called when the connection is closed.
	gone func()
}

// Close implements net.Conn.
func (c *grpcConn) Close() error {
	c.gone()
	err := c.Conn.Close()
	c.orphansMu.Lock()
	orphans := c.orphans
	c.orphans = nil
	c.orphansMu.Unlock()
	for o := range orphans {
		o.release()
	}
	c.callsMu.Lock()
	calls := c.calls
	c.calls, c.ended = nil, nil
	c.callsMu.Unlock()
	for call := range calls {
		call.end()
	}
	return err
}

// Write implements net.Conn.
func (c *grpcConn) Write(b []byte) (int, error) {
	c.callsMu.Lock()
	ended := c.ended
	c.ended, c.refused = nil, 0
	c.callsMu.Unlock()
	n, err := c.Conn.Write(b)
	for _, call := range ended {
		call.end()
	}
	return n, err
}

// spareRefusals is how many calls may be refused between two writes to a connection: gRPC keeps
// what is not written.
const spareRefusals = 4

// refuse counts a call that is refused. It reports false if there are too many.
func (c *grpcConn) refuse() bool {
	c.callsMu.Lock()
	defer c.callsMu.Unlock()
	c.refused++
	return c.refused <= spareRefusals
}

// add makes the connection end a call when it is closed. It reports false if it is.
func (c *grpcConn) add(call *openCall) bool {
	c.callsMu.Lock()
	defer c.callsMu.Unlock()
	if c.calls == nil {
		return false
	}
	c.calls[call] = struct{}{}
	return true
}

// remove undoes add.
func (c *grpcConn) remove(call *openCall) {
	c.callsMu.Lock()
	defer c.callsMu.Unlock()
	delete(c.calls, call)
}

// endAfterWrite makes a call end with the next write. It reports false if there is none.
func (c *grpcConn) endAfterWrite(call *openCall) bool {
	c.callsMu.Lock()
	defer c.callsMu.Unlock()
	if c.calls == nil {
		return false
	}
	c.ended = append(c.ended, call)
	return true
}

// own makes the connection hold an orphan until it is closed. It reports false if it is.
func (c *grpcConn) own(o *orphan) bool {
	c.orphansMu.Lock()
	defer c.orphansMu.Unlock()
	if c.orphans == nil {
		return false
	}
	c.orphans[o] = struct{}{}
	return true
}

func (c *grpcConn) disown(o *orphan) {
	c.orphansMu.Lock()
	defer c.orphansMu.Unlock()
	delete(c.orphans, o)
}

// RemoteAddr returns an address that is also the connection.
func (c *grpcConn) RemoteAddr() net.Addr { return connAddr{c.Conn.RemoteAddr(), c} }

// connAddr is the address of the peer of a connection.
type connAddr struct {
	net.Addr
	conn *grpcConn
}

// addressOf returns the address of a peer; invalid if it has none.
func addressOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	address, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return address.Addr().Unmap().WithZone("")
}

// proxyHeaders are the headers in which a proxy names its caller.
var proxyHeaders = []string{"x-real-ip", "x-forwarded-for"}

// grpcCaller returns the address of the caller of a gRPC call.
func (s *Server) grpcCaller(ctx context.Context, a net.Addr) netip.Addr {
	if c, ok := a.(connAddr); ok && !c.conn.proxy {
		return c.conn.peer
	}
	header := http.Header{}
	for _, name := range proxyHeaders {
		for _, value := range metadata.ValueFromIncomingContext(ctx, name) {
			header.Add(name, value)
		}
	}
	return s.callers.of(a.String(), header)
}

// splitter accepts connections, and hands those of trusted proxies and all others to a
// server each.
type splitter struct {
	listener        net.Listener
	trusts          func(netip.Addr) bool
	direct, proxies *door.Listener

	mu sync.Mutex
	// conns are the open connections.
	conns map[*grpcConn]struct{}
}

func newSplitter(listener net.Listener, trusts func(netip.Addr) bool) *splitter {
	return &splitter{listener: listener, trusts: trusts, direct: door.NewListener(listener.Addr()), proxies: door.NewListener(listener.Addr()),
		conns: map[*grpcConn]struct{}{}}
}

// add adds an open connection.
func (s *splitter) add(c *grpcConn) {
	c.gone = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
}

// open returns the open connections.
func (s *splitter) open() []*grpcConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}

// run accepts connections until the listener is closed.
func (s *splitter) run() error {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return err
		}
		c := &grpcConn{Conn: newPingConn(conn), peer: addressOf(conn.RemoteAddr()), orphans: map[*orphan]struct{}{}, calls: map[*openCall]struct{}{}}
		c.proxy = s.trusts(c.peer)
		s.add(c)
		if c.proxy {
			s.proxies.Give(c)
		} else {
			s.direct.Give(c)
		}
	}
}
