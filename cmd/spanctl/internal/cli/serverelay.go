package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/spanmesh/span/discoveryhttp/stun"
	"github.com/spanmesh/span/relay/front"
	"github.com/spanmesh/span/relay/savefile"
	"github.com/spanmesh/span/relay/udp"
)

// relayOptions are the flags of a server's relay.
type relayOptions struct {
	listen, address, key string
	limits               front.Limits
}

// relayShare is the part of --max-memory that a relay has: one of so many.
const relayShare = 4

func (o *relayOptions) flags(flags *pflag.FlagSet) {
	o.limits = front.DefaultLimits()
	flags.StringVar(&o.listen, "relay", "", "UDP address and port of a relay, which forwards WireGuard's packets between machines that do not reach each other and cannot read them; such as :51821. Machines whose network lets no UDP through reach it at --listen")
	flags.StringVar(&o.address, "relay-address", "", "host, or host:port, at which machines reach --relay (default the host at which they reach this server)")
	flags.StringVar(&o.key, "relay-key", "", "file of the relay's private key, which is made if there is none (default relay.key in the state directory)")
	l := &o.limits
	flags.IntVar(&l.Members, "max-relay-machines", l.Members, "most machines that may use the relay")
	flags.IntVar(&l.MembersPerAddress, "max-relay-machines-per-address", l.MembersPerAddress, "most machines of one address, or IPv6 /64, that may use the relay")
	flags.IntVar(&l.Streams, "max-relay-streams", l.Streams, "most machines that reach the relay over TCP")
	flags.IntVar(&l.StreamsPerAddress, "max-relay-streams-per-address", l.StreamsPerAddress, "most machines of one address, or IPv6 /64, that reach the relay over TCP")
	sizeVar(flags, &l.BytesPerSecond, "max-relay-rate", "most bytes per second that the relay forwards from one machine; 0 for no limit")
}

// check returns an error for limits that would refuse every machine, and for an address that is none.
func (o *relayOptions) check() error {
	for flag, n := range map[string]int{"max-relay-machines": o.limits.Members, "max-relay-machines-per-address": o.limits.MembersPerAddress} {
		if n <= 0 {
			return fmt.Errorf("--%s is %d: want at least 1", flag, n)
		}
	}
	if o.listen == "" && o.address != "" {
		return errors.New("--relay-address goes with --relay")
	}
	if o.address == "" {
		return nil
	}
	if host, _ := o.split(); host == "" {
		return fmt.Errorf("--relay-address is %q: want a host, or host:port", o.address)
	}
	return nil
}

// split returns the host of the address that machines are told, and its port; "" for none.
func (o *relayOptions) split() (host, port string) {
	if ip, err := netip.ParseAddr(o.address); err == nil {
		return ip.String(), ""
	}
	host, port, err := net.SplitHostPort(o.address)
	if err != nil {
		return o.address, ""
	}
	return host, port
}

// told returns the address that machines are told of a relay at a socket.
func (o *relayOptions) told(at netip.AddrPort) string {
	host, port := o.split()
	return net.JoinHostPort(host, cmp.Or(port, strconv.Itoa(int(at.Port()))))
}

// listenRelay returns the sockets of the relay: those of systemd, or one at --relay. It returns none
// without a relay.
func (o *relayOptions) listenRelay(ctx context.Context, passed []*net.UDPConn) ([]*udp.Conn, error) {
	switch {
	case o.listen == "" && len(passed) > 0:
		return nil, fmt.Errorf("systemd passes the UDP socket %s: give --relay, which has it", passed[0].LocalAddr())
	case o.listen == "":
		return nil, nil
	case len(passed) == 0:
		socket, err := udp.Listen(ctx, o.listen)
		if err != nil {
			return nil, fmt.Errorf("listen on --relay %s: %w%s", o.listen, err, listenHint(o.listen))
		}
		return []*udp.Conn{socket}, nil
	}
	var sockets []*udp.Conn
	for _, conn := range passed {
		socket, err := udp.New(conn)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("take the UDP socket %s from systemd: %w", conn.LocalAddr(), err), closeAll(sockets))
		}
		sockets = append(sockets, socket)
	}
	return sockets, nil
}

// openRelay returns the relay at its sockets, where STUN is answered as well.
func (f *serveOptions) openRelay(sockets []*udp.Conn, outside *stun.Server, log *slog.Logger) (*front.Front, error) {
	key := cmp.Or(f.relay.key, filepath.Join(f.stateDir, "relay.key"))
	if err := os.MkdirAll(f.stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	private, err := savefile.Key(key)
	if err != nil {
		return nil, fmt.Errorf("--relay-key: %w", err)
	}
	relay := front.Options{Private: private, Limits: f.relay.limits, Sockets: sockets, Table: filepath.Join(f.stateDir, "relay.table"), Log: log}
	if outside != nil {
		relay.Other = outside.Answerer
	}
	return front.New(relay)
}
