package state

import (
	"net/netip"
	"slices"
)

// Retained returns the live peers to keep although no PeerSpec names them. It is for an agent
// that does not know all members yet, such as one that was killed before it saved them: it
// must not interrupt the tunnels that exist.
//
// A live peer is kept if it has the preshared key of the mesh, and an address in the mesh's
// subnet that no PeerSpec has. It keeps the allowed IPs that no PeerSpec has.
func Retained(in Inputs, live State) []Peer {
	named := make(map[[32]byte]bool, len(in.Peers))
	taken := map[netip.Prefix]bool{}
	for _, spec := range in.Peers {
		named[spec.PublicKey] = true
		for _, prefix := range spec.AllowedIPs {
			taken[prefix] = true
		}
	}
	var kept []Peer
	for _, peer := range live.Peers {
		if named[peer.PublicKey] || peer.PresharedKey != in.PresharedKey {
			continue
		}
		peer.AllowedIPs = slices.DeleteFunc(slices.Clone(peer.AllowedIPs), func(p netip.Prefix) bool { return taken[p] })
		if slices.ContainsFunc(peer.AllowedIPs, func(p netip.Prefix) bool { return in.Identity.Subnet.Contains(p.Addr()) }) {
			kept = append(kept, peer)
		}
	}
	return kept
}
