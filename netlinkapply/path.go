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

	"github.com/spanmesh/span/netlinkapply/echo"
	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/netlinkapply/wgdevice"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
)

// The values of rp_filter (the kernel's ip-sysctl documentation). The greater of the link's
// own value and that of all links counts.
const (
	reversePathStrict = "1"
	reversePathLoose  = "2"
)

// isStrict reports whether the kernel drops packets from the link if the main routing table
// has their source on another link. That is so for packets from the tunnel, since the routes
// into the tunnel are for marked packets only.
func isStrict(link string) bool {
	own, all := sysctl("ipv4/conf/"+link+"/rp_filter"), sysctl("ipv4/conf/all/rp_filter")
	return own != reversePathLoose && all != reversePathLoose && (own == reversePathStrict || all == reversePathStrict)
}

// outsideSettings is where a container may write the machine's network settings. Its own
// /proc/sys is read-only.
const outsideSettings = "/host/proc/sys/net"

// loosen makes the kernel accept packets whose source is reachable by any link.
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
	link, err := k.findLink(scope)
	if err != nil || link == nil || link.Type() == kindWireguard {
		return err
	}
	// The peers of the last reading, in whose place others would be read, may still be in use.
	var device wgdevice.Device
	if err := userspace.Read(scope.LinkName, &device); err != nil {
		return err
	}
	return userspace.ConfigurePeers(scope.LinkName, func(yield func(userspace.PeerSetting) bool) {
		for _, p := range device.Peers() {
			if p.Endpoint.IsValid() && !yield(userspace.PeerSetting{PublicKey: p.PublicKey, UpdateOnly: true, Endpoint: p.Endpoint}) {
				return
			}
		}
	})
}

// Probe sends an echo through the tunnel to each peer. A peer without an IPv6 address gets a
// datagram, which its WireGuard answers; so does each where echoes are not permitted.
func (k *Kernel) Probe(ctx context.Context, scope state.Scope, probes []peer.Probe) error {
	var echoes, others []peer.Probe
	for _, p := range probes {
		if p.Address.Is6() {
			echoes = append(echoes, p)
		} else if !p.EchoOnly {
			others = append(others, p)
		}
	}
	err := k.echoes.Send(scope.LinkName, scope.RoutedMark, echoes)
	if errors.Is(err, echo.ErrNotPermitted) {
		err = nil
		for _, p := range echoes {
			if !p.EchoOnly {
				others = append(others, p)
			}
		}
	}
	return errors.Join(err, sendDatagrams(ctx, scope, others))
}

// Replies returns the peers that have answered an echo since the last call, sorted by key.
func (k *Kernel) Replies() []peer.Reply { return k.echoes.Replies() }

// discardPort is the destination of datagrams (RFC 863). The port may be closed: WireGuard
// confirms the packet before the peer looks at the port.
const discardPort = 9

// sendDatagrams sends a datagram through the tunnel to each peer.
func sendDatagrams(ctx context.Context, scope state.Scope, probes []peer.Probe) error {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return sendOver(c, scope) }}
	var failures error
	for _, p := range probes {
		conn, err := dialer.DialContext(ctx, "udp", netip.AddrPortFrom(p.Address, discardPort).String())
		if err != nil {
			failures = errors.Join(failures, fmt.Errorf("probe %s: %w", p.Address, err))
			continue
		}
		// ECONNREFUSED is the answer to an earlier probe.
		_, err = conn.Write([]byte("?"))
		if errors.Is(err, unix.EPERM) {
			err = &peer.FilteredError{Peer: p.Peer, Err: err}
		}
		if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			failures = errors.Join(failures, fmt.Errorf("probe %s: %w", p.Address, err))
		}
		_ = conn.Close()
	}
	return failures
}

// sendOver makes a socket send over the mesh's link. The mark selects the routes into the
// tunnel.
func sendOver(c syscall.RawConn, scope state.Scope) error {
	var failure error
	err := c.Control(func(fd uintptr) {
		failure = errors.Join(unix.BindToDevice(int(fd), scope.LinkName),
			setMark(fd, scope.RoutedMark))
	})
	return errors.Join(err, failure)
}
