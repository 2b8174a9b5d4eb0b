package ownership

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Move is a prefix with another owner than before. A zero key is no owner.
type Move struct {
	Prefix   netip.Prefix
	From, To mesh.Key
}

// manyDirty is how many touched prefixes have their memory freed, and not used again.
const manyDirty = 1 << 10

// Resolve gives every prefix that was touched since the last call to its owner, and returns
// the prefixes that have another one, sorted.
func (t *Table) Resolve() []Move {
	var moves []Move
	for prefix, h := range t.dirty {
		move := Move{Prefix: prefix}
		if h.resolved {
			move.From = *h.owner
		}
		if len(h.claims) == 0 {
			delete(t.holdings, prefix)
		} else {
			h.held, h.resolved = h.best(), true
			move.To = h.held.by.key
			h.owner = &h.held.by.key
		}
		if move.From != move.To {
			moves = append(moves, move)
		}
	}
	if clear(t.challenged); len(t.dirty) > manyDirty {
		t.dirty = map[netip.Prefix]*holding{} // an empty map keeps its memory
	}
	clear(t.dirty)
	slices.SortFunc(moves, func(a, b Move) int { return mesh.ComparePrefixes(a.Prefix, b.Prefix) })
	return moves
}

// Owned returns the prefixes of a claimant since the last Resolve, sorted.
func (t *Table) Owned(key mesh.Key) []netip.Prefix {
	c := t.claimants[key]
	if c == nil {
		return nil
	}
	owned := make([]netip.Prefix, 0, len(c.entries))
	for _, e := range c.entries {
		if h := t.holdings[e.Prefix]; h.held == e && h.resolved {
			owned = append(owned, e.Prefix)
		}
	}
	return owned
}

// Standing is a claim with its owner.
type Standing struct {
	mesh.Claim
	Owner mesh.Key
}

// Standings returns the claims of a claimant with the owners since the last Resolve, sorted by
// prefix.
func (t *Table) Standings(key mesh.Key) []Standing {
	c := t.claimants[key]
	if c == nil {
		return nil
	}
	standings := make([]Standing, len(c.entries))
	for i, e := range c.entries {
		standings[i].Claim = e.Claim
		if owner := t.holdings[e.Prefix].owner; owner != nil {
			standings[i].Owner = *owner
		}
	}
	return standings
}

// Unresolved reports whether claims or states have changed since the last Resolve.
func (t *Table) Unresolved() bool { return len(t.dirty) > 0 }

// Contested returns the owners of prefixes that other claimants would get if the owner were
// down.
func (t *Table) Contested() map[mesh.Key]bool {
	contested := map[mesh.Key]bool{}
	for _, h := range t.shared {
		owner := h.held
		if owner == nil || contested[owner.by.key] {
			continue
		}
		if slices.ContainsFunc(h.claims, func(e *entry) bool { return e != owner && compareKind(e, owner) == 0 }) {
			contested[owner.by.key] = true
		}
	}
	return contested
}

// Challenged returns the owners that have got another rival since the last Resolve.
func (t *Table) Challenged() map[mesh.Key]bool { return maps.Clone(t.challenged) }

// Rule is a rule that decides between two claims on one prefix.
type Rule string

// The rules, in their order.
const (
	Longer    Rule = "longer network"
	Static    Rule = "static peer"
	Rank      Rule = "rank"
	ByState   Rule = "state"
	Present   Rule = "present owner"
	FirstSeen Rule = "first seen"
	ByKey     Rule = "key"
)

// Contest is a prefix with several claims.
type Contest struct {
	Prefix netip.Prefix
	// Owner is the claim of the owner.
	Owner Contender
	// Others are the other claims, in the order of their keys.
	Others []Contender
}

// Contender is one of several claims on a prefix.
type Contender struct {
	mesh.Claim
	Key   mesh.Key
	State State
	// Rule is what the claim has lost by; empty for the owner's.
	Rule Rule
}

// Contests returns the prefixes with several claims, sorted, as of the last Resolve.
func (t *Table) Contests() []Contest {
	contests := make([]Contest, 0, len(t.shared))
	for _, h := range t.shared {
		owner := h.held
		if owner == nil {
			continue // not resolved yet
		}
		c := Contest{Prefix: owner.Prefix, Owner: owner.contender("")}
		for _, e := range h.claims {
			if e != owner {
				c.Others = append(c.Others, e.contender(lostBy(e, owner)))
			}
		}
		slices.SortFunc(c.Others, func(a, b Contender) int { return a.Key.Compare(b.Key) })
		contests = append(contests, c)
	}
	slices.SortFunc(contests, func(a, b Contest) int { return mesh.ComparePrefixes(a.Prefix, b.Prefix) })
	return contests
}

func (e *entry) contender(rule Rule) Contender {
	return Contender{Claim: e.Claim, Key: e.by.key, State: e.by.state, Rule: rule}
}

// lostBy returns the rule by which a claim has lost against the owner's.
func lostBy(e, owner *entry) Rule {
	switch {
	case e.Length != owner.Length:
		return Longer
	case e.isStatic() != owner.isStatic():
		return Static
	case e.rank() != owner.rank():
		return Rank
	case e.by.state != owner.by.state:
		return ByState
	case compare(e, owner) < 0:
		return Present
	case !e.by.firstSeen.Equal(owner.by.firstSeen):
		return FirstSeen
	default:
		return ByKey
	}
}

// Clone returns an independent copy of the table.
func (t *Table) Clone() *Table {
	n := &Table{}
	n.init()
	maps.Copy(n.restored, t.restored)
	for prefix, h := range t.holdings {
		n.holdings[prefix] = &holding{owner: h.owner, resolved: h.resolved}
	}
	for key, c := range t.claimants {
		claims := make([]mesh.Claim, len(c.entries))
		for i, e := range c.entries {
			claims[i] = e.Claim
		}
		n.Set(key, c.firstSeen, claims)
		n.SetState(key, c.state)
	}
	clear(n.dirty)
	for prefix := range t.dirty {
		n.dirty[prefix] = n.holdings[prefix]
	}
	clear(n.challenged)
	maps.Copy(n.challenged, t.challenged)
	return n
}
