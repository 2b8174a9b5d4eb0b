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

// callers counts the connections of each caller.
type callers struct {
	mu   sync.Mutex
	open int
	of   map[netip.Addr]*caller
}

// caller is an address or IPv6 network with connections.
type caller struct {
	open    int
	pending *queue
}

// enter counts a connection. It returns nil if there are too many.
func (c *callers) enter(key netip.Addr, l *Limits, unlimited bool) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= l.Connections {
		return nil
	}
	who := c.of[key]
	if who == nil {
		who = &caller{pending: newQueue(l.PendingPerCaller)}
	}
	if who.open >= l.PerCaller && !unlimited {
		return nil
	}
	c.open++
	who.open++
	c.of[key] = who
	return who
}

// leave counts a connection of the caller as closed.
func (c *callers) leave(key netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	who := c.of[key]
	who.open--
	if who.open == 0 {
		delete(c.of, key)
	}
}
