package mesh

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// claim is a range of addresses that a claimant asks for.
type claim struct {
	netipx.IPRange
	// owner is the number of the claimant. The lower number takes precedence.
	owner int
}

// loss is an address that a claimant did not get.
type loss struct {
	// winner is the claimant that got the address.
	winner int
	// loser is the claimant that did not.
	loser int
	from  netip.Addr
}

// resolveClaims gives every claimed address to the claimant that takes precedence. Granted
// ranges are disjoint and sorted; adjacent ranges of one owner are joined. Each claimant that
// did not get an address has one loss.
//
// It visits the claims by their first address. A heap has the claims that contain the
// current address. The work is O(n log n) for any overlap.
func resolveClaims(claims []claim) (granted []claim, losses []loss) {
	slices.SortFunc(claims, func(a, b claim) int {
		if c := a.From().Compare(b.From()); c != 0 {
			return c
		}
		return cmp.Compare(a.owner, b.owner)
	})
	var (
		open openClaims
		lost = map[int]bool{}
		lose = func(winner, loser int, at netip.Addr) {
			if winner != loser && !lost[loser] {
				lost[loser] = true
				losses = append(losses, loss{winner, loser, at})
			}
		}
		at   netip.Addr
		next int
	)
	granted = make([]claim, 0, len(claims))
	for next < len(claims) || len(open) > 0 {
		if len(open) == 0 {
			at = claims[next].From()
			if firstIsDisjoint(claims[next:]) {
				// Most claims overlap no other.
				granted = grant(granted, claims[next])
				next++
				continue
			}
		}
		for ; next < len(claims) && claims[next].From() == at; next++ {
			c := claims[next]
			if len(open) > 0 {
				lose(min(open[0].owner, c.owner), max(open[0].owner, c.owner), at)
			}
			heap.Push(&open, c)
		}
		best := open[0]
		end := best.To()
		if next < len(claims) && claims[next].From().Compare(end) <= 0 {
			end = claims[next].From().Prev()
		}
		granted = grant(granted, claim{netipx.IPRangeFrom(at, end), best.owner})
		at = end.Next()
		open.dropBefore(at)
	}
	return granted, losses
}

// firstIsDisjoint reports whether the first of sorted claims overlaps no other.
func firstIsDisjoint(claims []claim) bool {
	return len(claims) == 1 || claims[0].To().Less(claims[1].From())
}

// grant appends g to granted, or joins it with the last range if that is adjacent and of
// the same owner.
func grant(granted []claim, g claim) []claim {
	if n := len(granted); n > 0 {
		last := granted[n-1]
		if last.owner == g.owner && last.To().Next() == g.From() {
			granted[n-1].IPRange = netipx.IPRangeFrom(last.From(), g.To())
			return granted
		}
	}
	return append(granted, g)
}

// openClaims is a heap of claims with the one that takes precedence on top.
type openClaims []claim

func (o openClaims) Len() int           { return len(o) }
func (o openClaims) Less(i, j int) bool { return o[i].owner < o[j].owner }
func (o openClaims) Swap(i, j int)      { o[i], o[j] = o[j], o[i] }
func (o *openClaims) Push(x any)        { *o = append(*o, x.(claim)) }
func (o *openClaims) Pop() any {
	last := len(*o) - 1
	c := (*o)[last]
	*o = (*o)[:last]
	return c
}

// dropBefore removes claims from the top that end before at. Those further down are removed
// when they reach the top. At is invalid after the last address of a family, where all
// claims end.
func (o *openClaims) dropBefore(at netip.Addr) {
	if !at.IsValid() {
		*o = (*o)[:0]
	}
	for len(*o) > 0 && (*o)[0].To().Less(at) {
		heap.Pop(o)
	}
}
