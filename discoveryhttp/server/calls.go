package server

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/grpc/peer"
)

// errTooManyCalls is the error of one call more than an address, or all, may have open.
var errTooManyCalls = errors.New("too many calls are open: try again later")

// openCall is a call from its header until its end is written. It counts for its caller.
type openCall struct {
	caller netip.Addr
	calls  *quota[netip.Addr]
	// conn is the connection of a gRPC call, and nil for others.
	conn *grpcConn
	once sync.Once
}

// end counts the call no longer.
func (c *openCall) end() {
	c.once.Do(func() {
		c.calls.leave(c.caller)
		if c.conn != nil {
			c.conn.remove(c)
		}
	})
}

// over ends the call once its status is written. gRPC writes none to a call that was reset.
func (c *openCall) over(ctx context.Context) {
	if c.conn == nil || errors.Is(ctx.Err(), context.Canceled) || !c.conn.endAfterWrite(c) {
		c.end()
	}
}

// openGRPC counts a gRPC call. A connection that opens too many is closed, for gRPC would keep
// what it refuses; a proxy's is not, since others use it.
func (s *Server) openGRPC(ctx context.Context) (*openCall, error) {
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return s.open(netip.Addr{}, nil)
	}
	a, _ := p.Addr.(connAddr)
	c, err := s.open(s.grpcCaller(ctx, p.Addr), a.conn)
	if err != nil && a.conn != nil && !a.conn.proxy {
		_ = a.conn.Close()
	}
	return c, err
}

// open counts a call of a caller on a connection, which may be nil.
func (s *Server) open(caller netip.Addr, conn *grpcConn) (*openCall, error) {
	c := &openCall{caller: rateKey(caller), calls: s.calls, conn: conn}
	if err := s.calls.enter(c.caller); err != nil {
		return nil, connect.NewError(connect.CodeResourceExhausted, errTooManyCalls)
	}
	if conn != nil && !conn.add(c) {
		c.end()
	}
	return c, nil
}

// withCalls counts the calls on net/http. A connection that opens too many is to be closed.
func (s *Server) withCalls(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := s.open(s.callers.of(r.RemoteAddr, r.Header), nil)
		if err != nil {
			w.Header().Set("Connection", "close")
			http.Error(w, errTooManyCalls.Error(), http.StatusServiceUnavailable)
			return
		}
		defer c.end()
		next.ServeHTTP(w, r)
	})
}
