package agent

import (
	"net"
	"net/netip"
	"sync"
)

// clients is a listener that closes the connections of a client beyond some.
type clients struct {
	net.Listener
	limit int

	mu sync.Mutex
	// open counts the connections by the client's address.
	open map[netip.Addr]int
}

// boundClients returns a listener on which each client has at most limit connections at a time.
func boundClients(l net.Listener, limit int) net.Listener {
	return &clients{Listener: l, limit: limit, open: map[netip.Addr]int{}}
}

// Accept implements net.Listener.
func (c *clients) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := clientOf(conn)
		if c.enter(from) {
			return &clientConn{Conn: conn, leave: sync.OnceFunc(func() { c.leave(from) })}, nil
		}
		_ = conn.Close() // the client sees that it is closed
	}
}

// clientOf returns the address that a connection is from; zero if it is not known.
func clientOf(conn net.Conn) netip.Addr {
	if remote, is := conn.RemoteAddr().(*net.TCPAddr); is {
		return remote.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// enter counts a connection, if the client may have another.
func (c *clients) enter(from netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[from] >= c.limit {
		return false
	}
	c.open[from]++
	return true
}

func (c *clients) leave(from netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[from]--; c.open[from] == 0 {
		delete(c.open, from)
	}
}

// clientConn is a connection that is counted until it is closed.
type clientConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *clientConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
