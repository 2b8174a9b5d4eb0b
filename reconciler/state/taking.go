package state

import (
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// takings finds which networks peers take from each other. Both lists are in the order of keys.
type takings struct {
	desired, live []Peer
	// carriers has the index in live of the peer of each network. It is made once there is enough to look for.
	carriers map[netip.Prefix]int
	looked   int
}

// manyLookups is how many networks are looked for one by one.
const manyLookups = 8

func newTakings(desired, live []Peer) *takings { return &takings{desired: desired, live: live} }

// of returns a change with the networks that it takes.
func (t *takings) of(c PeerChange) PeerChange {
	for _, network := range c.New.AllowedIPs {
		if len(t.live) == 0 || slices.Contains(c.Old.AllowedIPs, network) {
			continue
		}
		from := t.carrier(network)
		if from == nil || from.PublicKey == c.New.PublicKey {
			continue
		}
		kept, found := slices.BinarySearchFunc(t.desired, from.PublicKey, func(p Peer, k mesh.Key) int { return p.PublicKey.Compare(k) })
		if !found || !covers(&t.desired[kept], network) {
			continue // not taken, or the change of the other peer has it
		}
		same := func(one Taken) bool { return one.From.PublicKey == from.PublicKey }
		if at := slices.IndexFunc(c.Takes, same); at >= 0 {
			c.Takes[at].Networks = append(c.Takes[at].Networks, network)
			continue
		}
		c.Takes = append(c.Takes, Taken{t.desired[kept], []netip.Prefix{network}})
	}
	return c
}

// carrier returns the live peer that carries a network: that of the most precise network around it; nil for
// none.
func (t *takings) carrier(network netip.Prefix) *Peer {
	if t.looked++; t.looked <= manyLookups {
		return t.search(network)
	}
	if t.carriers == nil {
		t.carriers = make(map[netip.Prefix]int, 3*len(t.live))
		for i := range t.live {
			for _, n := range t.live[i].AllowedIPs {
				t.carriers[n] = i
			}
		}
	}
	for bits := network.Bits(); bits >= 0; bits-- {
		around, err := network.Addr().Prefix(bits)
		if err != nil {
			return nil // not reached: allowed IPs are valid networks
		}
		if i, found := t.carriers[around]; found {
			return &t.live[i]
		}
	}
	return nil
}

// search is carrier that looks at all live peers.
func (t *takings) search(network netip.Prefix) (carrier *Peer) {
	bits := 0
	for i := range t.live {
		for _, n := range t.live[i].AllowedIPs {
			if n.Bits() >= bits && n.Bits() <= network.Bits() && n.Contains(network.Addr()) {
				carrier, bits = &t.live[i], n.Bits()
			}
		}
	}
	return carrier
}

// covers reports whether a peer has a network around another.
func covers(p *Peer, network netip.Prefix) bool {
	return slices.ContainsFunc(p.AllowedIPs, func(one netip.Prefix) bool {
		return one.Bits() <= network.Bits() && one.Contains(network.Addr())
	})
}
