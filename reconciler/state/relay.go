package state

import (
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// RelayKeepalive is how often WireGuard sends to a blind relay, which answers: it shows both ends that
// the other is there, and keeps the mappings of NATs, of which the shortest last 30 s
// (nf_conntrack_udp_timeout).
const RelayKeepalive = 10 * time.Second

// RelayPeer is WireGuard's peer for a blind relay. Nothing is routed to it.
type RelayPeer struct {
	Relay    *mesh.BlindRelay
	Endpoint netip.AddrPort
	// Redirect is that of Peer.
	Redirect bool
	// Renew is that of Peer.
	Renew bool
}

func (r RelayPeer) peer() Peer {
	return Peer{PublicKey: r.Relay.Key, Endpoint: r.Endpoint, Redirect: r.Redirect, Renew: r.Renew, Keepalive: RelayKeepalive, Label: "blind relay " + r.Relay.Name}
}
