package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv6"
)

// bufferSize is what is asked for a socket's buffers in the kernel, in bytes: what comes while the
// relay's process is started again waits there.
const bufferSize = 8 << 20

// ErrStopped is that of Receive after Stop.
var ErrStopped = errors.New("udp: stopped")

// Conn is a UDP socket.
type Conn struct {
	udp   *net.UDPConn
	batch *ipv6.PacketConn
	// segments is set while datagrams of many packets can be sent.
	segments atomic.Bool
	stopped  atomic.Bool
	everyAt  bool
}

// Listen opens a socket at an address and port.
func Listen(ctx context.Context, address string) (*Conn, error) {
	packets, err := new(net.ListenConfig).ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	conn, is := packets.(*net.UDPConn)
	if !is {
		return nil, errors.Join(fmt.Errorf("%s is no address of UDP", address), packets.Close())
	}
	return New(conn)
}

// New takes over an open socket. After an error, it is closed.
func New(conn *net.UDPConn) (*Conn, error) {
	// The kernel gives as much as an administrator allows.
	_, _ = conn.SetReadBuffer(bufferSize), conn.SetWriteBuffer(bufferSize)
	segments, err := setOptions(conn)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set the options of the UDP socket %s: %w", conn.LocalAddr(), err), conn.Close())
	}
	c := &Conn{udp: conn, batch: ipv6.NewPacketConn(conn)}
	c.segments.Store(segments)
	c.everyAt = c.LocalAddr().Addr().IsUnspecified()
	return c, nil
}

// LocalAddr returns the socket's address.
func (c *Conn) LocalAddr() netip.AddrPort {
	address, _ := c.udp.LocalAddr().(*net.UDPAddr)
	return unmapped(address.AddrPort())
}

// EveryAddress reports whether the socket is one of all addresses of the machine, so that each
// packet has to say which to send it from.
func (c *Conn) EveryAddress() bool { return c.everyAt }

// File returns a copy of the socket, such as for another process.
func (c *Conn) File() (*os.File, error) { return c.udp.File() }

// Stop ends Receive. What comes later waits in the kernel. The socket can still send.
func (c *Conn) Stop() {
	c.stopped.Store(true)
	_ = c.udp.SetReadDeadline(time.Unix(1, 0)) // it fails for a closed socket, which receives nothing
}

// Close closes the socket.
func (c *Conn) Close() error { return c.udp.Close() }

// unmapped returns an address of IPv4 as such, also where a socket of IPv6 has received from it.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
