package ui

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

const (
	// maxStrangers is how many connections are open of which no request had a cookie. One more closes
	// the oldest of them, so that they do not keep the page from others.
	maxStrangers = 32
	// maxKnown is how many other connections are kept.
	maxKnown = 64
)

// slots is a listener that bounds the connections of those who showed no cookie.
type slots struct {
	net.Listener

	mu sync.Mutex
	// strangers are the connections of which no request had a cookie, the oldest first.
	strangers []*slotConn
	// known is how many others are open.
	known int
}

// slotConn is a connection of slots.
type slotConn struct {
	net.Conn
	slots *slots
	known bool
	leave func()
}

// Accept implements net.Listener.
func (s *slots) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &slotConn{Conn: conn, slots: s}
	c.leave = sync.OnceFunc(func() { s.leave(c) })
	s.mu.Lock()
	s.strangers = append(s.strangers, c)
	var oldest *slotConn
	if len(s.strangers) > maxStrangers {
		oldest = s.strangers[0]
	}
	s.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close() // the client sees that it is closed
	}
	return c, nil
}

// Close implements net.Conn.
func (c *slotConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

func (s *slots) leave(c *slotConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.known {
		s.known--
	}
	s.strangers = slices.DeleteFunc(s.strangers, func(one *slotConn) bool { return one == c })
}

// know keeps a connection, one of whose requests had a cookie, whoever else connects.
func (c *slotConn) know() {
	s := c.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.strangers, c); i >= 0 && s.known < maxKnown {
		s.strangers = slices.Delete(s.strangers, i, i+1)
		c.known = true
		s.known++
	}
}

// slotKey is the context key of the *slotConn of a request.
type slotKey struct{}

func withSlot(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, slotKey{}, conn)
}

// keep keeps the connection of a request that had a cookie.
func keep(r *http.Request) {
	if c, is := r.Context().Value(slotKey{}).(*slotConn); is {
		c.know()
	}
}
