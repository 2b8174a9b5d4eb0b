package state

import (
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// Retained are the live peers to keep although no PeerSpec names them, while it
// is not known who is in the mesh: an agent that was killed before it wrote down
// what it had learned must not cut the tunnels it finds.
//
// A live peer is kept if it is of this mesh (it has the preshared key) and still
// has an address in the mesh that no PeerSpec claims; it keeps the networks that
// none claims.
func Retained(in Inputs, live State) []Peer {
	named := make(map[[32]byte]bool, len(in.Peers))
	var claimed netipx.IPSetBuilder
	for _, spec := range in.Peers {
		named[spec.PublicKey] = true
		for _, prefix := range spec.AllowedIPs {
			claimed.AddPrefix(prefix)
		}
	}
	taken, err := claimed.IPSet()
	if err != nil {
		return nil // not reached: PeerSpecs' networks are valid
	}
	var kept []Peer
	for _, peer := range live.Peers {
		if named[peer.PublicKey] || peer.PresharedKey != in.PresharedKey {
			continue
		}
		peer.AllowedIPs = slices.DeleteFunc(slices.Clone(peer.AllowedIPs), taken.OverlapsPrefix)
		if slices.ContainsFunc(peer.AllowedIPs, func(p netip.Prefix) bool { return in.Identity.Subnet.Contains(p.Addr()) }) {
			kept = append(kept, peer)
		}
	}
	return kept
}
