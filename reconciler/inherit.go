package reconciler

import (
	"cmp"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

// inherit takes over from what was gathered last what is the same: the claims of peers are asked for anew
// only if their affiliate or the territory is another one in memory.
func (g *gathered) inherit(last *gathered) {
	if last == nil {
		return
	}
	if last.config == g.config && last.identity == g.identity && last.host.Equal(g.host) && last.host.SameTerritory(g.host) &&
		slices.Equal(last.local.KubeSpan.AdditionalAddresses, g.local.KubeSpan.AdditionalAddresses) {
		g.territory = last.territory
	}
	for i, j := range matches(g.specs, last.specs) {
		g.specs[i].AllowedIPs = last.specs[j].AllowedIPs
		if g.claimants[i].Equal(last.claimants[j]) {
			g.claimants[i] = last.claimants[j]
		}
	}
	g.inheritedFrom = last.id
}

// matches yields the indexes of the peers that are in two lists, which are sorted by key.
func matches(a, b []mesh.PeerSpec) func(yield func(i, j int) bool) {
	return func(yield func(i, j int) bool) {
		j := 0
		for i := range a {
			for j < len(b) && b[j].PublicKey.Compare(a[i].PublicKey) < 0 {
				j++
			}
			if j < len(b) && b[j].PublicKey == a[i].PublicKey && !yield(i, j) {
				return
			}
		}
	}
}

// publishJoined replaces the specs of peers and the affiliates where they differ from what was gathered last,
// which was published.
func (e *Engine) publishJoined(now time.Time, p *Pass, last *gathered) {
	contests := contestsByPrefix(e.owners.contests)
	same := make([]bool, len(p.specs))
	stay := make([]bool, len(last.specs))
	for i, j := range matches(p.specs, last.specs) {
		same[i] = p.claimants[i] == last.claimants[j] && !p.respecified[p.specs[i].PublicKey]
		stay[j] = true
	}
	for j := range last.specs {
		if !stay[j] {
			e.store.Delete(resource.PeerSpecs, last.specs[j].PublicKey.String())
		}
	}
	for i := range p.specs {
		if !same[i] {
			e.store.Put(now, resource.PeerSpecs, p.specs[i].PublicKey.String(), p.peerSpec(&e.owners, &p.specs[i], contests))
		}
	}
	if len(p.refused)+len(last.refused) > 0 {
		e.store.Replace(now, resource.Affiliates, p.affiliates())
		return
	}
	before := last.merged
	for i := range p.merged {
		a := p.merged[i]
		for len(before) > 0 && cmp.Compare(before[0].NodeID, a.NodeID) < 0 {
			e.store.Delete(resource.Affiliates, before[0].NodeID)
			before = before[1:]
		}
		if len(before) > 0 && before[0].NodeID == a.NodeID {
			known := before[0].Equal(a)
			if before = before[1:]; known {
				continue
			}
		}
		e.store.Put(now, resource.Affiliates, a.NodeID, resource.Affiliate{Affiliate: a})
	}
	for i := range before {
		e.store.Delete(resource.Affiliates, before[i].NodeID)
	}
}
