package state

import (
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// takings finds which networks peers take from each other. Its maps are made for the first change:
// most passes have none.
type takings struct {
	desiredPeers, livePeers []Peer
	// live has the peer of each live network, and kept each peer as it is to be.
	live map[netip.Prefix]Peer
	kept map[mesh.Key]Peer
}

func newTakings(desired, live []Peer) *takings {
	return &takings{desiredPeers: desired, livePeers: live}
}

// index makes the maps.
func (t *takings) index() {
	if t.kept != nil {
		return
	}
	t.live, t.kept = map[netip.Prefix]Peer{}, make(map[mesh.Key]Peer, len(t.desiredPeers))
	for _, p := range t.livePeers {
		for _, network := range p.AllowedIPs {
			t.live[network] = p
		}
	}
	if len(t.livePeers) > 0 {
		for _, p := range t.desiredPeers {
			t.kept[p.PublicKey] = p
		}
	}
}

// of returns a change with the networks that it takes.
func (t *takings) of(c PeerChange) PeerChange {
	t.index()
	for _, network := range c.New.AllowedIPs {
		from, found := t.carrier(network)
		if !found || from.PublicKey == c.New.PublicKey || !covers(t.kept[from.PublicKey], network) {
			continue // not taken, or the change of the other peer has it
		}
		same := func(one Taken) bool { return one.From.PublicKey == from.PublicKey }
		if at := slices.IndexFunc(c.Takes, same); at >= 0 {
			c.Takes[at].Networks = append(c.Takes[at].Networks, network)
			continue
		}
		c.Takes = append(c.Takes, Taken{t.kept[from.PublicKey], []netip.Prefix{network}})
	}
	return c
}

// carrier returns the live peer that carries a network: that of the most precise network around it.
func (t *takings) carrier(network netip.Prefix) (p Peer, found bool) {
	for bits := network.Bits(); bits >= 0 && len(t.live) > 0; bits-- {
		around, err := network.Addr().Prefix(bits)
		if err != nil {
			return p, false // not reached: allowed IPs are valid networks
		}
		if p, found = t.live[around]; found {
			return p, true
		}
	}
	return p, false
}

// covers reports whether a peer has a network around another.
func covers(p Peer, network netip.Prefix) bool {
	return slices.ContainsFunc(p.AllowedIPs, func(one netip.Prefix) bool {
		return one.Bits() <= network.Bits() && one.Contains(network.Addr())
	})
}
