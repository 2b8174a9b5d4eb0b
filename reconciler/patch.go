package reconciler

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// patched is how what a pass has gathered differs from what the last one has.
type patched struct {
	// from is gathered.id of the last one; 0 if it was gathered anew.
	from uint64
	// nodes are the indexes in gathered.merged of the affiliates that have changed, and specs those in
	// gathered.specs, both sorted.
	nodes, specs []int
}

// follows reports whether what was made of something gathered with an ID needs only to be changed where the
// pass has found changes.
func (p *Pass) follows(id uint64) bool {
	return id != 0 && !p.allStepped && (id == p.id || p.patched.from == id)
}

// isPatchable reports whether changes of single affiliates change nothing about others: none is refused, and
// none has the key of a relay.
func (g *gathered) isPatchable() bool {
	return g.config.KubeSpan().Enabled && len(g.refused) == 0 && isSame(g.good, g.merged) && len(g.relays) == len(g.joinable)
}

// staticKeys returns the keys of static peers.
func staticKeys(affiliates []mesh.Affiliate) map[mesh.Key]bool {
	keys := map[mesh.Key]bool{}
	for i := range affiliates {
		if affiliates[i].Static {
			keys[affiliates[i].KubeSpan.PublicKey] = true
		}
	}
	return keys
}

// patch changes what the last pass has gathered where affiliates have changed. It is not ok where something
// else has changed, or an affiliate has joined, left, or become another peer.
func (e *Engine) patch(config *schema.Config, known Knowledge) (p patched, ok bool) {
	last := e.gathered
	if !last.patchable || known.Version == 0 || last.config != config || !sameBut(&last.known, &known) ||
		!maps.Equal(last.proven, e.provenRelays()) {
		return p, false
	}
	changed, ok := changedAffiliates(last.known.Affiliates, known.Affiliates)
	if !ok {
		return p, false
	}
	for _, i := range changed {
		a := &known.Affiliates[i]
		node, found := slices.BinarySearchFunc(last.merged, a.NodeID, func(m mesh.Affiliate, id string) int { return cmp.Compare(m.NodeID, id) })
		if !found || a.NodeID == last.identity.NodeID || last.configured[a.KubeSpan.PublicKey] {
			return p, false
		}
		p.nodes = append(p.nodes, node)
		if !a.KubeSpan.IsZero() && a.KubeSpan.PublicKey != last.identity.PublicKey {
			spec, found := last.specAt(a.KubeSpan.PublicKey)
			if !found || last.specs[spec].NodeID != a.NodeID {
				return p, false
			}
			p.specs = append(p.specs, spec)
		}
	}
	e.gathered = e.replaceAffiliates(last, known, changed, &p)
	return p, true
}

// sameBut reports whether two states of knowledge are the same but for what single affiliates publish.
func sameBut(a, b *Knowledge) bool {
	return a.Complete == b.Complete && len(a.Affiliates) == len(b.Affiliates) && len(a.Refused)+len(b.Refused)+len(a.Unreadable)+len(b.Unreadable) == 0 &&
		slices.Equal(a.Seen, b.Seen) && a.Outside.Equal(b.Outside) && reflect.DeepEqual(a.Node, b.Node) &&
		maps.Equal(a.PresharedKeys, b.PresharedKeys) && slices.EqualFunc(a.Relays, b.Relays, mesh.BlindRelay.Equal)
}

// changedAffiliates returns the indexes of affiliates that differ in two lists. It is not ok if that changes
// who is a peer, or the name of one.
func changedAffiliates(before, after []mesh.Affiliate) (changed []int, ok bool) {
	if isSame(before, after) {
		return nil, true
	}
	for i := range after {
		a, b := &before[i], &after[i]
		if a.Equal(b) {
			continue
		}
		if a.NodeID != b.NodeID || i > 0 && after[i-1].NodeID >= b.NodeID || a.Static || b.Static || len(b.Configured) > 0 || a.Nodename != b.Nodename ||
			a.KubeSpan.PublicKey != b.KubeSpan.PublicKey || a.KubeSpan.Address != b.KubeSpan.Address {
			return nil, false
		}
		changed = append(changed, i)
	}
	return changed, true
}

// replaceAffiliates returns what was gathered last with other affiliates. The lists of affiliates and of
// specs are changed in place: the engine alone has them.
func (e *Engine) replaceAffiliates(last *gathered, known Knowledge, changed []int, p *patched) *gathered {
	e.gatherings++
	g := *last
	g.id, g.version, g.known, p.from = e.gatherings, known.Version, known, last.id
	g.claimants = slices.Clone(g.claimants)
	kubespan := g.config.KubeSpan()
	endpoints, versions, offers, agents := false, false, false, false
	for at, i := range changed {
		a := known.Affiliates[i]
		versions = versions || a.Version != g.merged[p.nodes[at]].Version
		g.merged[p.nodes[at]] = a
		if spec, found := g.specAt(a.KubeSpan.PublicKey); found {
			before, after := g.replaceSpec(spec, &a)
			endpoints = endpoints || !slices.Equal(before.Endpoints, after.Endpoints) || len(before.Refused)+len(after.Refused) > 0
			offers = offers || !before.Offer.IsZero() || !after.Offer.IsZero()
			agents = agents || before.WithoutAgent != after.WithoutAgent
		}
	}
	g.unreachable = mesh.NoPeerEndpoint(kubespan, g.specs)
	if kubespan.Relay.Offer {
		g.admitted = admit(g.claimants, known.Complete)
	}
	if offers && kubespan.Relay.UsesBlind() {
		g.offered = mesh.OfferedRelays(g.identity.PublicKey, g.host.Links, g.endpoints, g.specs)
	}
	if agents {
		g.withoutAgent = slices.ContainsFunc(g.specs, func(s mesh.PeerSpec) bool { return s.WithoutAgent })
	}
	if versions {
		g.members.Versions = g.otherVersions()
	}
	for _, node := range p.nodes {
		e.remember(g.merged[node : node+1])
	}
	if endpoints {
		before := g.mtu
		g.invalid = invalidEndpoints(g.specs)
		if g.setMTU(kubespan); g.mtu != before {
			g.specs, p.from, p.nodes = slices.Clone(g.specs), 0, nil // that concerns all
		}
	}
	return &g
}

// replaceSpec makes the spec of a peer anew.
func (g *gathered) replaceSpec(i int, a *mesh.Affiliate) (before, after mesh.PeerSpec) {
	before, after = g.specs[i], mesh.PeerSpecs([]*mesh.Affiliate{a})[0]
	after.Name, after.AllowedIPs = before.Name, before.AllowedIPs
	g.endpoints.Filter(&after)
	g.claimants[i], g.specs[i] = a, after
	return before, after
}

// specAt returns the index of the spec of the peer with a key.
func (g *gathered) specAt(key mesh.Key) (i int, found bool) {
	return slices.BinarySearchFunc(g.specs, key, func(s mesh.PeerSpec, k mesh.Key) int { return s.PublicKey.Compare(k) })
}
