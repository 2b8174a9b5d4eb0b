package netlinkapply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/spanmesh/span/reconciler/state"
)

// The values of rp_filter (the kernel's ip-sysctl documentation). Of a link's own
// and that of all links, the greater one counts.
const (
	reversePathStrict = "1"
	reversePathLoose  = "2"
)

// isStrict tells whether the kernel drops packets from a link whose source the
// main table has on another. What comes out of the tunnel is such: the routes
// into the tunnel are for marked packets alone.
func isStrict(link string) bool {
	own, all := sysctl("ipv4/conf/"+link+"/rp_filter"), sysctl("ipv4/conf/all/rp_filter")
	return own != reversePathLoose && all != reversePathLoose && (own == reversePathStrict || all == reversePathStrict)
}

// outsideSettings is where a container has the settings of the machine's network that it
// may write: those in /proc/sys it may only read.
const outsideSettings = "/host/proc/sys/net"

// loosen has the kernel check only that there is a way back at all.
func loosen(c state.ReversePathChange) error {
	path := filepath.Join("ipv4/conf", c.Link, "rp_filter")
	err := os.WriteFile(filepath.Join(systemSettings, path), []byte(reversePathLoose), 0)
	if err != nil && os.WriteFile(filepath.Join(outsideSettings, path), []byte(reversePathLoose), 0) == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("packets out of the tunnel are dropped by rp_filter, and it cannot be changed here: run `sysctl -w net.ipv4.conf.%s.rp_filter=%s` outside (%w)",
			c.Link, reversePathLoose, err)
	}
	return nil
}

// ClearSources clears the source address that WireGuard has cached for each peer, after
// the machine's addresses have changed. The kernel's WireGuard does so itself. wireguard-go
// keeps an address that is gone until a handshake fails, or until the peer is given an
// endpoint, which may be the one that it has.
func (k *Kernel) ClearSources(scope state.Scope) error {
	link, err := k.findLink(scope.LinkName)
	if err != nil || link == nil || link.Type() == kindWireguard {
		return err
	}
	return wireguard(func(c *wgctrl.Client) error {
		device, err := c.Device(scope.LinkName)
		if err != nil {
			return err
		}
		var config wgtypes.Config
		for _, p := range device.Peers {
			if p.Endpoint != nil {
				config.Peers = append(config.Peers, wgtypes.PeerConfig{PublicKey: p.PublicKey, UpdateOnly: true, Endpoint: p.Endpoint})
			}
		}
		return c.ConfigureDevice(scope.LinkName, config)
	})
}

// discardPort is where probes go: to discard (RFC 863), where usually nobody
// listens. What comes back matters as little as whether the port is open:
// WireGuard itself confirms what it received.
const discardPort = 9

// Probe sends a datagram through the tunnel to each address.
func (k *Kernel) Probe(ctx context.Context, scope state.Scope, addresses []netip.Addr) error {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return sendOver(c, scope) }}
	var failures error
	for _, address := range addresses {
		conn, err := dialer.DialContext(ctx, "udp", netip.AddrPortFrom(address, discardPort).String())
		if err != nil {
			failures = errors.Join(failures, fmt.Errorf("probe %s: %w", address, err))
			continue
		}
		// An error of an earlier probe, such as that nobody listens, is none of this.
		_, err = conn.Write([]byte("?"))
		if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			failures = errors.Join(failures, fmt.Errorf("probe %s: %w", address, err))
		}
		_ = conn.Close()
	}
	return failures
}

// sendOver has a socket send over the mesh's link, whatever the other routes are:
// by its mark the routes into the tunnel are used.
func sendOver(c syscall.RawConn, scope state.Scope) error {
	var failure error
	err := c.Control(func(fd uintptr) {
		failure = errors.Join(unix.BindToDevice(int(fd), scope.LinkName),
			setMark(fd, scope.RoutedMark))
	})
	return errors.Join(err, failure)
}
