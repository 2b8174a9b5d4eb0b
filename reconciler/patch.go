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
	// nodes are the indexes in gathered.merged of the affiliates that have changed or joined, and specs those
	// in gathered.specs, both sorted.
	nodes, specs []int
	// before are the specs before peers joined and left: those at the indexes left are gone, and those at the
	// indexes joined of gathered.specs are new. It is nil where none did.
	before       []mesh.PeerSpec
	left, joined []int
	// departed are the affiliates that have left.
	departed []*mesh.Affiliate
}

// edited reports whether peers have joined or left since there were some specs.
func (p *patched) edited(specs []mesh.PeerSpec) bool {
	return p.before != nil && isSame(p.before, specs)
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
func staticKeys(affiliates []*mesh.Affiliate) map[mesh.Key]bool {
	keys := map[mesh.Key]bool{}
	for _, a := range affiliates {
		if a.Static {
			keys[a.KubeSpan.PublicKey] = true
		}
	}
	return keys
}

// patch changes what the last pass has gathered where affiliates have changed, joined or left. It is not ok
// where something else has changed, or an affiliate has become another peer.
func (e *Engine) patch(config *schema.Config, known Knowledge) (p patched, ok bool) {
	last := e.gathered
	if !last.patchable || known.Version == 0 || last.config != config || !sameBut(&last.known, &known) ||
		!maps.Equal(last.proven, e.provenRelays()) {
		return p, false
	}
	diff, ok := compareAffiliates(last.known.Affiliates, known.Affiliates)
	if !ok || !last.stay(diff.changed) || !last.canLeave(diff.left) {
		return p, false
	}
	g := *last
	if len(diff.joined)+len(diff.left) > 0 && !g.replaceMembers(&diff, &p) {
		return p, false
	}
	e.gatherings++
	g.id, g.version, g.known, p.from = e.gatherings, known.Version, known, last.id
	e.replaceAffiliates(&g, &diff, &p)
	e.gathered = &g
	return p, true
}

// sameBut reports whether two states of knowledge are the same but for affiliates.
func sameBut(a, b *Knowledge) bool {
	return a.Complete == b.Complete && len(a.Refused)+len(b.Refused)+len(a.Unreadable)+len(b.Unreadable) == 0 &&
		slices.Equal(a.Seen, b.Seen) && a.Outside.Equal(b.Outside) && reflect.DeepEqual(a.Node, b.Node) &&
		maps.Equal(a.PresharedKeys, b.PresharedKeys) && slices.EqualFunc(a.Relays, b.Relays, mesh.BlindRelay.Equal)
}

// stay reports whether the affiliates are the peers gathered before; what they publish may differ.
func (g *gathered) stay(changed []*mesh.Affiliate) bool {
	return !slices.ContainsFunc(changed, func(a *mesh.Affiliate) bool {
		if _, found := g.affiliateAt(a.NodeID); !found || a.NodeID == g.identity.NodeID || g.configured[a.KubeSpan.PublicKey] {
			return true
		}
		if !g.isPeer(a) {
			return false
		}
		i, found := g.specAt(a.KubeSpan.PublicKey)
		return !found || g.specs[i].NodeID != a.NodeID
	})
}

// isPeer reports whether an affiliate that is not refused is a peer.
func (g *gathered) isPeer(a *mesh.Affiliate) bool {
	return !a.KubeSpan.IsZero() && a.KubeSpan.PublicKey != g.identity.PublicKey
}

// touched are what affiliates that have changed or joined may concern beside their own specs.
type touched struct{ endpoints, versions, offers, agents bool }

// replaceAffiliates changes g where affiliates have changed or joined. The lists of affiliates and of specs are
// changed in place: the engine alone has them.
func (e *Engine) replaceAffiliates(g *gathered, n *affiliateDiff, p *patched) {
	g.claimants = slices.Clone(g.claimants)
	// Who has joined or left may differ in anything.
	members := len(n.joined)+len(n.left) > 0
	t := touched{members, members, members, members}
	for _, a := range slices.Concat(n.changed, n.joined) {
		node, _ := g.affiliateAt(a.NodeID)
		t.versions = t.versions || a.Version != g.merged[node].Version
		g.merged[node] = a
		p.nodes = append(p.nodes, node)
		if g.isPeer(a) {
			p.specs = append(p.specs, g.replaceSpec(a, &t))
		}
	}
	slices.Sort(p.nodes)
	slices.Sort(p.specs)
	for _, node := range p.nodes {
		e.remember(g.merged[node : node+1])
	}
	g.replaceSums(&t, p)
}

// replaceSums changes what depends on all affiliates.
func (g *gathered) replaceSums(t *touched, p *patched) {
	kubespan := g.config.KubeSpan()
	g.unreachable = mesh.NoPeerEndpoint(kubespan, g.specs)
	if kubespan.Relay.Offer {
		g.admitted = admit(g.claimants, g.known.Complete)
	}
	if t.offers && kubespan.Relay.UsesBlind() {
		g.offered = mesh.OfferedRelays(g.identity.PublicKey, g.host.Links, g.endpoints, g.specs)
	}
	if t.agents {
		g.withoutAgent = slices.ContainsFunc(g.specs, func(s mesh.PeerSpec) bool { return s.WithoutAgent })
	}
	if t.versions {
		g.members.Versions = g.otherVersions()
	}
	if t.endpoints {
		g.replaceEndpoints(p)
	}
}

// replaceEndpoints changes what depends on the endpoints of all peers.
func (g *gathered) replaceEndpoints(p *patched) {
	before := g.mtu
	g.invalid = invalidEndpoints(g.specs)
	if g.setMTU(g.config.KubeSpan()); g.mtu != before {
		g.specs, p.from, p.nodes, p.before = slices.Clone(g.specs), 0, nil, nil // that concerns all
	}
}

// replaceSpec makes the spec of a peer anew, and returns its index.
func (g *gathered) replaceSpec(a *mesh.Affiliate, t *touched) (i int) {
	i, _ = g.specAt(a.KubeSpan.PublicKey)
	before, after := g.specs[i], mesh.PeerSpecs([]*mesh.Affiliate{a})[0]
	after.Name, after.AllowedIPs = before.Name, before.AllowedIPs
	g.endpoints.Filter(&after)
	g.claimants[i], g.specs[i] = a, after
	t.endpoints = t.endpoints || !slices.Equal(before.Endpoints, after.Endpoints) || len(before.Refused)+len(after.Refused) > 0
	t.offers = t.offers || !before.Offer.IsZero() || !after.Offer.IsZero()
	t.agents = t.agents || before.WithoutAgent != after.WithoutAgent
	return i
}

// specAt returns the index of the spec of the peer with a key.
func (g *gathered) specAt(key mesh.Key) (i int, found bool) {
	return slices.BinarySearchFunc(g.specs, key, func(s mesh.PeerSpec, k mesh.Key) int { return s.PublicKey.Compare(k) })
}

// affiliateAt returns the index of the merged affiliate with a node ID.
func (g *gathered) affiliateAt(id string) (i int, found bool) {
	return slices.BinarySearchFunc(g.merged, id, func(a *mesh.Affiliate, id string) int { return cmp.Compare(a.NodeID, id) })
}
