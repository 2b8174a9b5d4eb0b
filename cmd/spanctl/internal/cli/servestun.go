package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/discoveryhttp/stun"
	"github.com/spanmesh/span/relay/udp"
)

// The values of --stun-listen beside an address.
const (
	stunSame = "same"
	stunOff  = "off"
)

// openSTUN opens the sockets of STUN, besides those of the relay, where it is answered, too. Where
// another program has the UDP port of --listen, discovery is served without them, unless the user has
// asked for the port.
func (f *serveOptions) openSTUN(ctx context.Context, listeners []net.Listener, relay []*udp.Conn, log *slog.Logger) ([]*net.UDPConn, error) {
	switch f.stunListen {
	case stunOff:
		return nil, nil
	case stunSame:
	default:
		conn, err := stun.Listen(ctx, f.stunListen)
		if err != nil {
			return nil, fmt.Errorf("listen on --stun-listen %s: %w", f.stunListen, err)
		}
		return []*net.UDPConn{conn}, nil
	}
	var all []*net.UDPConn
	for _, l := range listeners {
		at, is := l.Addr().(*net.TCPAddr)
		if !is || slices.ContainsFunc(relay, func(r *udp.Conn) bool { return covers(r.LocalAddr(), at) }) {
			continue
		}
		conn, err := stun.Listen(ctx, l.Addr().String())
		if err != nil {
			log.Warn("machines are not told their outside addresses", "error", err)
			continue
		}
		all = append(all, conn)
	}
	return all, nil
}

// covers reports whether a UDP socket has the address and port of a TCP socket.
func covers(socket netip.AddrPort, at *net.TCPAddr) bool {
	return int(socket.Port()) == at.Port && (socket.Addr().IsUnspecified() || socket.Addr() == at.AddrPort().Addr().Unmap())
}
