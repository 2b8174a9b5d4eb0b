package path

import (
	"net/netip"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Target is a peer that answers probes.
type Target struct {
	Key mesh.Key
	// Name is mesh.PeerSpec.Name.
	Name string
	// Candidates are the endpoints that may lead to the peer, the likeliest first.
	Candidates []netip.AddrPort
	// IPv4 and IPv6 are the kinds of NAT in front of the peer, as it has published them.
	IPv4, IPv6 mesh.NAT
	// Relayed is set while a relay carries the packets of the peer. Relay is its endpoint, which is no
	// path.
	Relayed bool
	Relay   netip.AddrPort
	// Direct is where WireGuard reaches the peer without a relay; invalid if it does not.
	Direct netip.AddrPort
}
