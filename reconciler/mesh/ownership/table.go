package ownership

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// State is the state of a claimant. The higher one takes precedence.
type State uint8

// The states.
const (
	Down State = iota
	Unknown
	Up
)

func (s State) String() string { return [...]string{"down", "unknown", "up"}[s] }

// Table has the claims on prefixes and their owners. It is for one goroutine. The zero value
// has no claims.
type Table struct {
	claimants map[mesh.Key]*claimant
	holdings  map[netip.Prefix]*holding
	// shared are the holdings with several claims.
	shared map[netip.Prefix]*holding
	// dirty are the holdings whose claims or states have changed since Resolve.
	dirty map[netip.Prefix]*holding
	// restored are owners of an earlier process, of prefixes without a holding.
	restored map[netip.Prefix]mesh.Key
	// challenged are the owners that have got another rival since Resolve.
	challenged map[mesh.Key]bool
}

// claimant is a peer with claims.
type claimant struct {
	key       mesh.Key
	state     State
	firstSeen time.Time
	// entries are its claims, sorted by prefix.
	entries []*entry
}

// entry is a claim in its holding.
type entry struct {
	mesh.Claim
	by *claimant
	// index is the place in the holding's heap.
	index int
}

// holding has all claims on a prefix. There are several for each peer.
type holding struct {
	// claims is a heap without regard to the present owner.
	claims claims
	// owner is the owner since the last Resolve, or of an earlier process; nil for none. The key is that of the
	// claimant.
	owner *mesh.Key
	// held is the owner's claim; nil while it has none.
	held *entry
	// resolved is set when Resolve has chosen the owner.
	resolved bool
}

// claims is a heap with the claim that takes precedence on top.
type claims []*entry

func (c claims) Len() int           { return len(c) }
func (c claims) Less(i, j int) bool { return compare(c[i], c[j]) < 0 }
func (c claims) Swap(i, j int) {
	c[i], c[j] = c[j], c[i]
	c[i].index, c[j].index = i, j
}

func (c *claims) Push(x any) {
	e := x.(*entry)
	e.index = len(*c)
	*c = append(*c, e)
}

func (c *claims) Pop() any {
	last := len(*c) - 1
	e := (*c)[last]
	(*c)[last] = nil
	*c = (*c)[:last]
	return e
}

// compare orders two claims on one prefix without regard to the present owner.
func compare(a, b *entry) int {
	return cmp.Or(compareStrength(a, b), b.by.firstSeen.Compare(a.by.firstSeen), a.by.key.Compare(b.by.key))
}

// compareStrength orders two claims by the rules that come before the present owner.
func compareStrength(a, b *entry) int {
	return cmp.Or(cmp.Compare(b.Length, a.Length), compareTrue(a.isStatic(), b.isStatic()), compareKind(a, b), cmp.Compare(b.by.state, a.by.state))
}

// compareKind orders two claims by what does not depend on the state of the claimants.
func compareKind(a, b *entry) int {
	return cmp.Or(cmp.Compare(b.Length, a.Length), compareTrue(a.Static && !a.Shared, b.Static && !b.Shared), cmp.Compare(a.rank(), b.rank()))
}

// compareTrue orders true before false.
func compareTrue(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// isStatic reports whether the config gives the prefix to the claimant: one that other machines may
// have as well has to be up here.
func (e *entry) isStatic() bool { return e.Static && (!e.Shared || e.by.state == Up) }

// rank returns the rank of the claim. A machine that announces a peer which others have as well claims
// its address as a network behind it, and is not to lose for that.
func (e *entry) rank() mesh.ClaimRank {
	if e.Shared {
		return mesh.RankNetwork
	}
	return e.Rank
}

// Restore names the owner of a prefix in an earlier process. It counts as the present owner
// when the prefix is first claimed.
func (t *Table) Restore(prefix netip.Prefix, owner mesh.Key) {
	t.init()
	if t.holdings[prefix] == nil {
		t.restored[prefix] = owner
	}
}

// Set replaces the claims of a claimant, which are sorted by prefix, each prefix once.
// FirstSeen is kept from the first call. A new claimant is Unknown.
func (t *Table) Set(key mesh.Key, firstSeen time.Time, claims []mesh.Claim) {
	t.init()
	c := t.claimants[key]
	if c == nil {
		c = &claimant{key: key, state: Unknown, firstSeen: firstSeen}
		t.claimants[key] = c
	}
	if slices.EqualFunc(c.entries, claims, func(e *entry, claim mesh.Claim) bool { return e.Claim == claim }) {
		return
	}
	entries := make([]*entry, 0, len(claims))
	before := c.entries
	for _, claim := range claims {
		for len(before) > 0 && mesh.ComparePrefixes(before[0].Prefix, claim.Prefix) < 0 {
			t.withdraw(before[0])
			before = before[1:]
		}
		if len(before) > 0 && before[0].Prefix == claim.Prefix {
			if before[0].Claim != claim {
				before[0].Claim = claim
				h := t.holdings[claim.Prefix]
				heap.Fix(&h.claims, before[0].index)
				t.touch(claim.Prefix, h)
			}
			entries = append(entries, before[0])
			before = before[1:]
			continue
		}
		entries = append(entries, t.claim(c, claim))
	}
	for _, e := range before {
		t.withdraw(e)
	}
	c.entries = entries
}

// SetState sets the state of a claimant.
func (t *Table) SetState(key mesh.Key, state State) {
	c := t.claimants[key]
	if c == nil || c.state == state {
		return
	}
	c.state = state
	// Each heap has one claim of c, which alone may be out of place.
	for _, e := range c.entries {
		h := t.holdings[e.Prefix]
		heap.Fix(&h.claims, e.index)
		t.touch(e.Prefix, h)
	}
}

// Remove removes a claimant with its claims.
func (t *Table) Remove(key mesh.Key) {
	c := t.claimants[key]
	if c == nil {
		return
	}
	for _, e := range c.entries {
		t.withdraw(e)
	}
	delete(t.claimants, key)
}

func (t *Table) init() {
	if t.claimants == nil {
		t.claimants, t.holdings, t.shared = map[mesh.Key]*claimant{}, map[netip.Prefix]*holding{}, map[netip.Prefix]*holding{}
		t.dirty, t.restored, t.challenged = map[netip.Prefix]*holding{}, map[netip.Prefix]mesh.Key{}, map[mesh.Key]bool{}
	}
}

// claim adds a claim.
func (t *Table) claim(c *claimant, claim mesh.Claim) *entry {
	h := t.holdings[claim.Prefix]
	if h == nil {
		h = &holding{owner: t.takeRestored(claim.Prefix)}
		t.holdings[claim.Prefix] = h
	}
	e := &entry{Claim: claim, by: c}
	if h.owner != nil && c.key == *h.owner {
		h.held = e
	}
	if h.held != nil && h.held != e && compareKind(h.held, e) == 0 {
		t.challenged[h.held.by.key] = true
	}
	heap.Push(&h.claims, e)
	t.touch(claim.Prefix, h)
	return e
}

// takeRestored returns the owner of a prefix in an earlier process, and forgets it; nil for none.
func (t *Table) takeRestored(prefix netip.Prefix) *mesh.Key {
	owner, known := t.restored[prefix]
	if !known {
		return nil
	}
	if delete(t.restored, prefix); len(t.restored) == 0 {
		t.restored = map[netip.Prefix]mesh.Key{} // an empty map keeps its memory
	}
	return &owner
}

// withdraw removes a claim.
func (t *Table) withdraw(e *entry) {
	h := t.holdings[e.Prefix]
	heap.Remove(&h.claims, e.index)
	if h.held == e {
		h.held = nil
	}
	t.touch(e.Prefix, h)
}

// touch has Resolve look at the holding of a prefix.
func (t *Table) touch(prefix netip.Prefix, h *holding) {
	t.dirty[prefix] = h
	if len(h.claims) > 1 {
		t.shared[prefix] = h
	} else {
		delete(t.shared, prefix)
	}
}

// best returns the claim that takes precedence. There is at least one.
func (h *holding) best() *entry {
	top := h.claims[0]
	if h.held != nil && compareStrength(top, h.held) == 0 {
		return h.held
	}
	return top
}
