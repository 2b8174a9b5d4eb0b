package door

import (
	"net"
	"sync"
)

// listener hands out connections that were routed to it.
type listener struct {
	conns  chan *Conn
	closed chan struct{}
	once   sync.Once
}

func newListener() *listener {
	return &listener{conns: make(chan *Conn), closed: make(chan struct{})}
}

// give hands a connection to the server that accepts from the listener. A connection for a
// closed listener is closed.
func (l *listener) give(c *Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener. The connections are of type *Conn.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return address{} }

// address is the address of a listener that is not of a network.
type address struct{}

// Network implements net.Addr.
func (address) Network() string { return "door" }

// String implements net.Addr.
func (address) String() string { return "door" }
