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

var (
	// errAddressCalls is the error of one call more than an address may have open, and errAllCalls
	// of one more than all may.
	errAddressCalls = errors.New("this address has reached its limit of open calls")
	errAllCalls     = errors.New("the server has reached its limit of open calls")
)

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
		c.calls.leave(rateKey(c.caller))
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

// openGRPC counts a gRPC call. gRPC keeps a call that it refuses until the client has taken that.
// So a connection on which an address opens too many is closed. One stays that meets the limit of
// all, as long as it takes the refusals; so does that of a proxy, which others use.
func (s *Server) openGRPC(ctx context.Context) (*openCall, error) {
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return s.open(netip.Addr{}, nil)
	}
	a, _ := p.Addr.(connAddr)
	c, err := s.open(s.grpcCaller(ctx, p.Addr), a.conn)
	if err != nil && a.conn != nil && !a.conn.proxy && (errors.Is(err, errAddressCalls) || !a.conn.refuse()) {
		_ = a.conn.Close()
	}
	return c, err
}

// open counts a call of a caller on a connection, which may be nil.
func (s *Server) open(caller netip.Addr, conn *grpcConn) (*openCall, error) {
	c := &openCall{caller: caller, calls: s.calls, conn: conn}
	switch err := s.calls.enter(rateKey(caller)); {
	case errors.Is(err, errKeyFull):
		return nil, connect.NewError(connect.CodeResourceExhausted, errAddressCalls)
	case err != nil:
		return nil, connect.NewError(connect.CodeResourceExhausted, errAllCalls)
	}
	if conn != nil && !conn.add(c) {
		c.end()
	}
	return c, nil
}

// withCalls counts the calls on net/http.
func (s *Server) withCalls(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := s.open(s.callers.of(r.RemoteAddr, r.Header), nil)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		defer c.end()
		next.ServeHTTP(w, r)
		sendRest(w, r)
	})
}
