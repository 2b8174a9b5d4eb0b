package mesh

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// claim is a range of addresses that an owner asks for. Owners are numbered in
// the order of their right: the lower number wins.
type claim struct {
	netipx.IPRange
	owner int
}

// loss says that a claim met one with a better right at an address.
type loss struct {
	winner, loser int
	from          netip.Addr
}

// resolveClaims gives every claimed address to the owner with the best right. Granted
// ranges are disjoint, in the order of addresses, and joined where one owner's
// adjoin. Each owner that loses an address is among the losses once.
//
// It walks the claims in the order of their first address and keeps those that
// are still open in a heap: O(n log n), however much they overlap.
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
			if alone(claims[next:]) {
				// What most claims are: nobody else's.
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

// alone tells whether the first of sorted claims meets no other.
func alone(claims []claim) bool {
	return len(claims) == 1 || claims[0].To().Less(claims[1].From())
}

// grant appends g, joined with the last grant where both are one owner's and
// adjoin.
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

// openClaims is a heap of claims with the best right on top.
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

// dropBefore removes claims that ended before at from the top; those further
// down go when they come to the top. No address is behind the last one of a
// family: what is open ends there too.
func (o *openClaims) dropBefore(at netip.Addr) {
	if !at.IsValid() {
		*o = (*o)[:0]
	}
	for len(*o) > 0 && (*o)[0].To().Less(at) {
		heap.Pop(o)
	}
}
