package peer

import (
	"bytes"
	"crypto/sha256"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// BlindRelay is a relay that cannot read what it carries, and with which this machine is registered.
type BlindRelay struct {
	Key mesh.Key
	// Endpoint is where WireGuard reaches it. All peers behind it have this endpoint.
	Endpoint netip.AddrPort
}

// behind returns the endpoints of the relays with which a peer is registered as well. Both ends have them
// in the same order, and different pairs in different ones.
func (in *Input) behind(spec *mesh.PeerSpec) (endpoints []netip.AddrPort) {
	if len(in.Registered) == 0 || len(spec.Registered) == 0 {
		return nil
	}
	first, second := in.Self, spec.PublicKey
	if second.Compare(first) < 0 {
		first, second = second, first
	}
	// Rendezvous hashing, as in mesh.PickRelay.
	rank := func(r BlindRelay) []byte {
		sum := sha256.Sum256(slices.Concat(first[:], second[:], r.Key[:]))
		return sum[:]
	}
	common := slices.DeleteFunc(slices.Clone(in.Registered), func(r BlindRelay) bool { return !slices.Contains(spec.Registered, r.Key) })
	slices.SortFunc(common, func(a, b BlindRelay) int { return bytes.Compare(rank(b), rank(a)) })
	for _, r := range common {
		endpoints = append(endpoints, r.Endpoint)
	}
	return endpoints
}

// relayAt returns the relay that has an endpoint; zero for none.
func (in *Input) relayAt(e netip.AddrPort) mesh.Key {
	for i := range in.Relays {
		if in.Relays[i].Has(e) {
			return in.Relays[i].Key
		}
	}
	return mesh.Key{}
}

// IsBlind reports whether a relay that cannot read it carries the peer's traffic.
func (c *Connection) IsBlind() bool { return c.IsUp() && !c.BlindRelay.IsZero() }
