package state

import (
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Document is a desired state that is built again and again. The zero value has none.
type Document struct {
	s State
	// relays are the relays of s, and neighbours its neighbours.
	relays     []mesh.Key
	neighbours []Neighbour
	// routes is what is routed.
	routes routed
	// fixed is set if that does not depend on the states of the peers.
	fixed bool
}

// Build is the function Build. The peers of the state are valid until the next call.
func (d *Document) Build(in Inputs) State {
	d.s, d.routes = build(&in)
	d.relays, d.neighbours = d.relays[:0], in.Neighbours
	for _, r := range in.Relays {
		d.relays = append(d.relays, r.Relay.Key)
	}
	d.fixed = in.KubeSpan.Enabled && !in.KubeSpan.AllowDownPeerBypass && len(in.KubeSpan.Bypass) == 0 && len(in.Retain) == 0
	for i := range in.Connections {
		d.fixed = d.fixed && !in.Connections[i].Relayed()
	}
	return d.s
}

// Changes are the peers that differ between two inputs.
type Changes struct {
	// Peers are the indexes in Inputs.Peers of those that may have changed, and of those that have joined.
	Peers []int
	// Joined are the indexes of those that have joined, and Left the keys of those that have left.
	Joined []int
	Left   []mesh.Key
}

// Rebuild is Build for inputs that differ from the last ones in some peers and their connections, in Relays,
// Retain and Neighbours only. There is a connection for each peer.
func (d *Document) Rebuild(in Inputs, c Changes) State {
	relayed := slices.ContainsFunc(c.Peers, func(i int) bool { return in.Connections[i].Relayed() })
	sameRelays := slices.EqualFunc(in.Relays, d.relays, func(r RelayPeer, k mesh.Key) bool { return r.Relay.Key == k })
	if !d.fixed || relayed || !sameRelays || len(in.Retain) > 0 || !slices.Equal(in.Neighbours, d.neighbours) {
		return d.Build(in)
	}
	removed, added, ok := d.change(&in, &c)
	if !ok {
		return d.Build(in)
	}
	for _, r := range in.Relays {
		if _, ok := d.replace(r.peer()); !ok {
			return d.Build(in)
		}
	}
	if len(removed)+len(added) > 0 {
		d.routes.replace(removed, added)
		d.s.Firewall.Networks = outermost(d.routes.in)
		d.s.Firewall.Guard.Networks = d.s.Firewall.Networks
	}
	return d.s
}

// change changes the peers, and returns the networks that are carried no more, and those that newly are. It is not ok
// where the state is to be built.
func (d *Document) change(in *Inputs, c *Changes) (removed, added []netip.Prefix, ok bool) {
	for _, key := range c.Left {
		before, ok := d.remove(key)
		if !ok {
			return nil, nil, false
		}
		removed = append(removed, before...)
	}
	for _, i := range c.Joined {
		if !d.insert(in.Peers[i].PublicKey) {
			return nil, nil, false
		}
	}
	for _, i := range c.Peers {
		p := in.peer(&in.Peers[i], &in.Connections[i], nil)
		before, ok := d.replace(p)
		if !ok || !isCanonical(p.AllowedIPs) {
			return nil, nil, false
		}
		removed, added = append(removed, Missing(before, p.AllowedIPs)...), append(added, Missing(p.AllowedIPs, before)...)
	}
	return removed, added, true
}

// find returns the index of the peer with a key, or that at which it would be. It is not ok if there are several.
func (d *Document) find(key mesh.Key) (i int, found, ok bool) {
	i, found = slices.BinarySearchFunc(d.s.Peers, key, func(x Peer, k mesh.Key) int { return x.PublicKey.Compare(k) })
	return i, found, !found || i+1 == len(d.s.Peers) || d.s.Peers[i+1].PublicKey != key
}

// replace replaces the peer with the same key, if it is the only one, and returns the networks that it had.
func (d *Document) replace(p Peer) (before []netip.Prefix, ok bool) {
	i, found, ok := d.find(p.PublicKey)
	if !found || !ok {
		return nil, false
	}
	before = d.s.Peers[i].AllowedIPs
	d.s.Peers[i] = p
	return before, true
}

// remove removes the peer with a key, if it is the only one, and returns the networks that it had.
func (d *Document) remove(key mesh.Key) (before []netip.Prefix, ok bool) {
	i, found, ok := d.find(key)
	if !found || !ok {
		return nil, false
	}
	before = d.s.Peers[i].AllowedIPs
	d.s.Peers = slices.Delete(d.s.Peers, i, i+1)
	return before, true
}

// insert adds a peer with a key, if there is none.
func (d *Document) insert(key mesh.Key) (ok bool) {
	i, found, _ := d.find(key)
	if !found {
		d.s.Peers = slices.Insert(d.s.Peers, i, Peer{PublicKey: key})
	}
	return !found
}
