package reconciler

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/mesh/ownership"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
)

// owners keeps who owns the prefixes that peers claim.
type owners struct {
	table ownership.Table
	// started is set once the owners of an earlier process were read from the kernel.
	started bool
	// peers are those of the last pass.
	peers map[mesh.Key]claims
	// refusals has what those of them claim and do not get.
	refusals map[mesh.Key][]mesh.Refusal
	// gathered is gathered.id of the affiliates whose claims are in the table; 0 for none.
	gathered uint64
	// contests are the prefixes that several peers claim.
	contests []ownership.Contest
	// found are the conditions about them; nil if they are to be found anew.
	found *[]condition.Condition
	// probe are the owners whose state has to be known soon, since others claim the same.
	probe map[mesh.Key]bool
}

// claims is what the claims of a peer follow from.
type claims struct {
	affiliate *mesh.Affiliate
	territory *mesh.Territory
	// working is the endpoint at which the peer was last up.
	working netip.AddrPort
}

// clone returns an independent copy.
func (o *owners) clone() *owners {
	c := *o
	c.table = *o.table.Clone()
	c.peers, c.refusals = maps.Clone(o.peers), maps.Clone(o.refusals)
	return &c
}

// present returns what the machine has of its peers.
func (o *owners) present(live []state.Peer) mesh.Present {
	p := mesh.Present{NodeIDs: make(map[mesh.Key]string, len(o.peers)), AllowedIPs: func(key mesh.Key) []netip.Prefix {
		if i := slices.IndexFunc(live, func(l state.Peer) bool { return l.PublicKey == key }); i >= 0 {
			return live[i].AllowedIPs
		}
		return nil
	}}
	for key, claimed := range o.peers {
		p.NodeIDs[key] = claimed.affiliate.NodeID
	}
	return p
}

// restore takes the allowed IPs in the kernel as the owners of an earlier process, so that a
// restart moves no prefix.
func (o *owners) restore(live []state.Peer) {
	if o.started {
		return
	}
	o.started = true
	for i := range live {
		for _, prefix := range live[i].AllowedIPs {
			o.table.Restore(prefix, live[i].PublicKey)
		}
	}
}

// resolveOwners gives each peer of a pass the prefixes that it owns, after the states of the peers
// have moved on.
func (p *Pass) resolveOwners(now time.Time, o *owners, live []state.Peer) {
	o.restore(live)
	fresh := !p.follows(o.gathered)
	p.inherits = fresh && o.gathered != 0 && p.last != nil && p.inheritedFrom == o.gathered
	p.respecified = map[mesh.Key]bool{}
	if fresh {
		o.removeDeparted(p.specs)
	} else {
		for _, i := range p.patched.left {
			o.remove(p.patched.before[i].PublicKey)
		}
	}
	o.gathered = p.id
	o.note(now, p, fresh)
	p.ownersChanged = fresh || p.patched.before != nil || o.table.Unresolved()
	o.probe = nil // the step before has seen them
	if !p.ownersChanged {
		return
	}
	o.found = nil
	o.probe = o.table.Challenged()
	if len(o.probe) > 0 {
		p.NextCheck = 0
	}
	moves := o.table.Resolve()
	before := o.contests
	o.contests = o.table.Contests()
	p.moved = len(moves) > 0
	if fresh && !p.inherits {
		for i := range p.specs {
			p.specs[i].AllowedIPs = o.table.Owned(p.specs[i].PublicKey)
		}
		return
	}
	if p.inherits {
		p.assignJoined(o)
	}
	p.assign(o, moves)
	p.respecify(before, o.contests)
}

// note notes the claims and states of the peers: of all, or of those that were stepped.
func (o *owners) note(now time.Time, p *Pass, all bool) {
	if p.allStepped {
		o.found = nil
	}
	one := func(i int) {
		o.claim(now, p, i)
		o.table.SetState(p.specs[i].PublicKey, stateOf(&p.peers[i]))
	}
	if !all {
		for _, i := range p.stepped {
			one(i)
		}
		return
	}
	for i := range p.specs {
		one(i)
	}
}

// assignJoined sets the allowed IPs of the peers that have joined.
func (p *Pass) assignJoined(o *owners) {
	for i := range p.specs {
		if p.specs[i].AllowedIPs == nil {
			p.specs[i].AllowedIPs = o.table.Owned(p.specs[i].PublicKey)
		}
	}
}

// assign sets the allowed IPs of the peers that have won or lost a prefix.
func (p *Pass) assign(o *owners, moves []ownership.Move) {
	for _, m := range moves {
		p.respecified[m.From], p.respecified[m.To] = true, true
	}
	stepped := slices.Clone(p.stepped)
	for key := range p.respecified {
		if i, found := p.specAt(key); found {
			p.specs[i].AllowedIPs = o.table.Owned(key)
			stepped = append(stepped, i)
		}
	}
	slices.Sort(stepped)
	p.stepped = slices.Compact(stepped)
}

// respecify notes whose claims are contested, or were.
func (p *Pass) respecify(lists ...[]ownership.Contest) {
	for _, contests := range lists {
		for i := range contests {
			p.respecified[contests[i].Owner.Key] = true
			for _, c := range contests[i].Others {
				p.respecified[c.Key] = true
			}
		}
	}
}

// claim sets what the peer at an index claims, if that has changed.
func (o *owners) claim(now time.Time, p *Pass, i int) {
	key, working := p.specs[i].PublicKey, p.peers[i].LastGood
	before, known := o.peers[key]
	if known && before.affiliate == p.claimants[i] && before.territory == p.territory && before.working == working {
		return
	}
	o.found = nil
	p.respecified[key] = true
	claimed, refusals := p.territory.Claims(p.claimants[i], p.specs[i].Endpoints, working)
	o.table.Set(key, now, claimed)
	if o.peers == nil {
		o.peers, o.refusals = map[mesh.Key]claims{}, map[mesh.Key][]mesh.Refusal{}
	}
	if delete(o.refusals, key); len(refusals) > 0 {
		o.refusals[key] = refusals
	}
	o.peers[key] = claims{affiliate: p.claimants[i], territory: p.territory, working: working}
}

// removeDeparted removes the claims of peers that are not in specs.
func (o *owners) removeDeparted(specs []mesh.PeerSpec) {
	present := make(map[mesh.Key]bool, len(specs))
	for i := range specs {
		present[specs[i].PublicKey] = true
	}
	for key := range o.peers {
		if !present[key] {
			o.remove(key)
		}
	}
}

// remove removes the claims of a peer.
func (o *owners) remove(key mesh.Key) {
	o.table.Remove(key)
	delete(o.peers, key)
	delete(o.refusals, key)
}

// stateOf returns what the state of a connection is to its claims. That of a relayed peer is
// unknown: the relay may be up while the peer is not.
func stateOf(c *peer.Connection) ownership.State {
	switch {
	case c.Relayed():
		return ownership.Unknown
	case c.IsUp():
		return ownership.Up
	case c.Status.State == peer.Down:
		return ownership.Down
	default:
		return ownership.Unknown
	}
}
