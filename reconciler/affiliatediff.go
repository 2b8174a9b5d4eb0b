package reconciler

import (
	"cmp"
	"slices"
	"sort"

	"github.com/spanmesh/span/reconciler/mesh"
)

// maxNews is how many joins and leaves a pass handles one by one. With more, it gathers everything again.
const maxNews = 64

// affiliateDiff has the affiliates that differ in two lists. Those of left are from the first one.
type affiliateDiff struct{ changed, joined, left []*mesh.Affiliate }

// compareAffiliates compares two lists. It is not ok if one is not sorted where they differ, an affiliate is
// another peer or has another name, or too many have joined and left.
func compareAffiliates(before, after []*mesh.Affiliate) (n affiliateDiff, ok bool) {
	if isSame(before, after) {
		return n, true
	}
	isSorted := func(j int) bool { return j == 0 || after[j-1].NodeID < after[j].NodeID }
	for i, j := 0, 0; i < len(before) || j < len(after); {
		switch order := compareNext(before[i:], after[j:]); {
		case order < 0:
			n.left = append(n.left, before[i])
			i++
		case order > 0:
			if !isSorted(j) {
				return n, false
			}
			n.joined = append(n.joined, after[j])
			j++
		default:
			if !before[i].Equal(after[j]) {
				if !isSamePeer(before[i], after[j]) || !isSorted(j) {
					return n, false
				}
				n.changed = append(n.changed, after[j])
			}
			i, j = i+1, j+1
		}
		if len(n.joined)+len(n.left) > maxNews {
			return n, false
		}
	}
	return n, true
}

// compareNext compares the node IDs of the first affiliates of two lists, of which one may be empty. The first of a
// list comes before an empty one.
func compareNext(a, b []*mesh.Affiliate) int {
	switch {
	case len(b) == 0:
		return -1
	case len(a) == 0:
		return 1
	default:
		return cmp.Compare(a[0].NodeID, b[0].NodeID)
	}
}

// isSamePeer reports whether two affiliates with one node ID are the same peer of the same name, and no config
// describes it.
func isSamePeer(a, b *mesh.Affiliate) bool {
	return !a.Static && !b.Static && len(b.Configured) == 0 && a.Nodename == b.Nodename && a.Hostname == b.Hostname &&
		a.KubeSpan.PublicKey == b.KubeSpan.PublicKey && a.KubeSpan.Address == b.KubeSpan.Address
}

// replaceMembers changes the lists of g where affiliates join and leave. It is not ok, and changes nothing, where
// that concerns others.
func (g *gathered) replaceMembers(n *affiliateDiff, p *patched) (ok bool) {
	peers := slices.DeleteFunc(slices.Clone(n.joined), func(a *mesh.Affiliate) bool { return !g.isPeer(a) })
	slices.SortFunc(peers, compareKeys)
	isRepeated := func(a, b *mesh.Affiliate) bool { return compareKeys(a, b) == 0 }
	if !g.canJoin(n.joined) || !g.areNamedApart(n) || len(slices.CompactFunc(slices.Clone(peers), isRepeated)) < len(peers) {
		return false
	}
	specs := mesh.PeerSpecs(peers)
	mesh.NamePeers(specs, g.local.Nodename, suffixedBy(g.config.KubeSpan()))
	departed := g.leave(n.left, p)
	p.before = g.specs
	g.merged, _ = edit(nil, g.merged, departed, n.joined, func(a, b **mesh.Affiliate) int { return cmp.Compare((*a).NodeID, (*b).NodeID) })
	g.good = g.merged
	g.claimants, _ = edit(nil, g.claimants, p.left, peers, func(a, b **mesh.Affiliate) int { return compareKeys(*a, *b) })
	g.specs, p.joined = edit(nil, g.specs, p.left, specs, func(a, b *mesh.PeerSpec) int { return a.PublicKey.Compare(b.PublicKey) })
	if g.config.Cluster.Discovery.Enabled {
		g.members.Others += len(n.joined) - len(n.left)
	}
	return true
}

func compareKeys(a, b *mesh.Affiliate) int { return a.KubeSpan.PublicKey.Compare(b.KubeSpan.PublicKey) }

// leave notes who leaves, and returns the indexes of these in g.merged.
func (g *gathered) leave(left []*mesh.Affiliate, p *patched) (nodes []int) {
	for _, a := range left {
		node, _ := g.affiliateAt(a.NodeID)
		nodes, p.departed = append(nodes, node), append(p.departed, g.merged[node])
		if g.isPeer(a) {
			spec, _ := g.specAt(a.KubeSpan.PublicKey)
			p.left = append(p.left, spec)
		}
	}
	slices.Sort(p.left)
	return nodes
}

// edit returns a sorted list without the elements at some indexes, and with others, which are sorted too. It
// returns the indexes of these. It uses the memory of a buffer, if that is large enough. The list is not nil.
func edit[T any](buffer, list []T, left []int, joined []T, compare func(a, b *T) int) (edited []T, at []int) {
	if n := len(list) - len(left) + len(joined); buffer == nil || cap(buffer) < n {
		buffer = make([]T, 0, n+n/64)
	}
	edited = buffer[:0]
	from := 0
	for len(left)+len(joined) > 0 {
		to := len(list)
		if len(joined) > 0 {
			to = from + sort.Search(len(list)-from, func(i int) bool { return compare(&list[from+i], &joined[0]) >= 0 })
		}
		if len(left) > 0 && left[0] < to {
			edited, from, left = append(edited, list[from:left[0]]...), left[0]+1, left[1:]
			continue
		}
		edited, from = append(edited, list[from:to]...), to
		at, edited, joined = append(at, len(edited)), append(edited, joined[0]), joined[1:]
	}
	return append(edited, list[from:]...), at
}

// canLeave reports whether the affiliates were gathered unchanged and none is described by the config.
func (g *gathered) canLeave(left []*mesh.Affiliate) bool {
	return !slices.ContainsFunc(left, func(a *mesh.Affiliate) bool { return a.Static }) && g.stay(left)
}

// canJoin reports whether the affiliates are valid and neither their IDs nor their keys are in use.
func (g *gathered) canJoin(joined []*mesh.Affiliate) bool {
	return !slices.ContainsFunc(joined, func(a *mesh.Affiliate) bool {
		one := mesh.Merge([]*mesh.Affiliate{a}, nil)
		_, refused := mesh.Filter(g.identity, one, mesh.Present{})
		_, known := g.affiliateAt(a.NodeID)
		_, isPeer := g.specAt(a.KubeSpan.PublicKey)
		return a.Static || len(a.Configured)+len(refused) > 0 || len(one) == 0 || known || isPeer ||
			a.NodeID == g.identity.NodeID || g.isOthers(a.KubeSpan.PublicKey)
	})
}

// isOthers reports whether a key is that of a static peer or of a relay.
func (g *gathered) isOthers(key mesh.Key) bool {
	_, proven := g.proven[key]
	return g.configured[key] || proven || slices.ContainsFunc(g.joinable, func(r mesh.BlindRelay) bool { return r.Key == key })
}

// areNamedApart reports whether no two of the affiliates have a name of one that joins or leaves.
func (g *gathered) areNamedApart(n *affiliateDiff) bool {
	named := map[string]int{}
	namesOf := func(a *mesh.Affiliate) []string {
		all := labelsOf(a, g.config.KubeSpan())
		if a.Nodename == "" || slices.Contains(all, a.Nodename) {
			return all
		}
		return append(all, a.Nodename)
	}
	for _, a := range slices.Concat(n.joined, n.left) {
		for _, name := range namesOf(a) {
			named[name] = 0
		}
	}
	count := func(a *mesh.Affiliate) {
		for _, name := range namesOf(a) {
			if times, asked := named[name]; asked {
				named[name] = times + 1
			}
		}
	}
	for _, a := range g.merged {
		count(a)
	}
	for _, a := range n.joined {
		count(a)
	}
	for _, times := range named {
		if times != 1 {
			return false
		}
	}
	return true
}
