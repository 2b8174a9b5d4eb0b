package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/spanmesh/span/discoveryhttp/stun"
)

// The values of --stun-listen beside an address.
const (
	stunSame = "same"
	stunOff  = "off"
)

// openSTUN opens the sockets of STUN. Where another program has the UDP port of --listen, discovery is
// served without them, unless the user has asked for the port.
func (f *serveOptions) openSTUN(ctx context.Context, listeners []net.Listener, log *slog.Logger) ([]*net.UDPConn, error) {
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
		if _, is := l.Addr().(*net.TCPAddr); !is {
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
