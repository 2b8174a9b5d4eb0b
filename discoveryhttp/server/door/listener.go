package door

import (
	"net"
	"sync"
)

// Listener hands out connections that another has accepted. It is safe for concurrent use.
type Listener struct {
	address net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// NewListener returns a listener with an address.
func NewListener(address net.Addr) *Listener {
	return &Listener{address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Give hands a connection to the server that accepts from the listener. A connection for a
// closed listener is closed.
func (l *Listener) Give(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.address }

// address is the address of a listener that is not of a network.
type address struct{}

// Network implements net.Addr.
func (address) Network() string { return "door" }

// String implements net.Addr.
func (address) String() string { return "door" }
