package state

import (
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Document is a desired state that is built again and again. The zero value has none.
type Document struct {
	s State
	// relays are the relays of s, and neighbours its neighbours.
	relays     []mesh.Key
	neighbours []Neighbour
	// fixed is set if the networks do not depend on the states of the peers.
	fixed bool
}

// Build is the function Build. The lists of the state are valid until the next call.
func (d *Document) Build(in Inputs) State {
	d.s = Build(in)
	d.relays, d.neighbours = d.relays[:0], in.Neighbours
	for _, r := range in.Relays {
		d.relays = append(d.relays, r.Relay.Key)
	}
	d.fixed = !in.KubeSpan.AllowDownPeerBypass && len(in.Retain) == 0
	for i := range in.Connections {
		d.fixed = d.fixed && !in.Connections[i].Relayed()
	}
	return d.s
}

// Rebuild is Build for inputs that differ from the last ones in the connections at some indexes, in Relays
// and in Neighbours only. Connections has one for each peer.
func (d *Document) Rebuild(in Inputs, changed []int) State {
	relayed := slices.ContainsFunc(changed, func(i int) bool { return in.Connections[i].Relayed() })
	sameRelays := slices.EqualFunc(in.Relays, d.relays, func(r RelayPeer, k mesh.Key) bool { return r.Relay.Key == k })
	if !d.fixed || relayed || !sameRelays || len(in.Retain) > 0 || !in.KubeSpan.Enabled || !slices.Equal(in.Neighbours, d.neighbours) {
		return d.Build(in)
	}
	for _, i := range changed {
		p := in.peer(&in.Peers[i], &in.Connections[i], nil)
		p.AllowedIPs = canonical(p.AllowedIPs)
		if !d.replace(p) {
			return d.Build(in)
		}
	}
	for _, r := range in.Relays {
		if !d.replace(r.peer()) {
			return d.Build(in)
		}
	}
	return d.s
}

// replace replaces the peer with the same key, if it is the only one.
func (d *Document) replace(p Peer) bool {
	i, found := slices.BinarySearchFunc(d.s.Peers, p.PublicKey, func(x Peer, k mesh.Key) int { return x.PublicKey.Compare(k) })
	if !found || i+1 < len(d.s.Peers) && d.s.Peers[i+1].PublicKey == p.PublicKey {
		return false
	}
	d.s.Peers[i] = p
	return true
}
