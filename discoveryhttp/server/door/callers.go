package door

import (
	"net"
	"net/netip"
	"sync"
)

// subnetBits is the prefix length of the smallest IPv6 network that a site gets (RFC 6177).
const subnetBits = 64

// callerOf returns the address of a connection's other end. It is not valid if the network
// has none, such as a Unix socket.
func callerOf(c net.Conn) netip.Addr {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// keyOf returns the address, or the IPv6 network, whose connections are counted together.
func keyOf(address netip.Addr) netip.Addr {
	if address.Is6() {
		if prefix, err := address.Prefix(subnetBits); err == nil {
			return prefix.Addr()
		}
	}
	return address
}

// callers keeps the connections of each caller.
type callers struct {
	mu   sync.Mutex
	open int
	of   map[netip.Addr]*caller
}

// caller is an address or IPv6 network with connections.
type caller struct {
	key   netip.Addr
	proxy bool
	conns map[*Conn]struct{}
	// pending are the connections that were not routed.
	pending *queue
}

// The limits that a connection can exceed, as the server's flags are named.
const (
	limitPerCaller   = "max-connections-per-address"
	limitConnections = "max-connections"
)

// enter adds a connection, or returns the name of the limit that it exceeds. If there are too
// many in all, it takes the place of one that is returned, of the caller with the most: whoever
// has few connections is let in for as long as others have many.
func (c *callers) enter(conn *Conn, l *Limits) (instead *Conn, exceeded string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := keyOf(conn.caller)
	who := c.of[key]
	if who == nil {
		proxy := !conn.caller.IsValid() || l.trusts(conn.caller)
		who = &caller{key: key, proxy: proxy, conns: map[*Conn]struct{}{}, pending: newQueue(l.PendingPerCaller)}
	}
	if len(who.conns) >= l.PerCaller && !who.proxy {
		return nil, limitPerCaller
	}
	if c.open >= l.Connections {
		if instead = c.spare(len(who.conns) + 1); instead == nil {
			return nil, limitConnections
		}
		c.remove(instead)
	}
	conn.who = who
	c.of[key] = who
	who.conns[conn] = struct{}{}
	c.open++
	return instead, ""
}

// spare returns a connection of the caller with the most, if it has more than a number.
func (c *callers) spare(more int) *Conn {
	var most *caller
	for _, who := range c.of {
		if len(who.conns) > more && !who.proxy {
			most, more = who, len(who.conns)
		}
	}
	if most == nil {
		return nil
	}
	for conn := range most.conns {
		return conn
	}
	return nil
}

// leave removes a connection. To remove it again does nothing.
func (c *callers) leave(conn *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(conn)
}

func (c *callers) remove(conn *Conn) {
	who := conn.who
	if _, found := who.conns[conn]; !found {
		return
	}
	c.open--
	delete(who.conns, conn)
	if len(who.conns) == 0 {
		delete(c.of, who.key)
	}
}

// count returns the number of connections.
func (c *callers) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}
