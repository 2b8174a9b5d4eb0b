package server

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"
	"time"
)

// holder is what a reader holds: its share of what it has with others, in bytes, and for how
// long it has not taken the oldest of that.
type holder struct {
	reader  *reader
	address netip.Addr
	bytes   int64
	untaken time.Duration
}

// share is what the readers of an address hold.
type share struct {
	address netip.Addr
	bytes   int64
	holders []holder
}

// shares are a heap.Interface whose first has most.
type shares []*share

func (s shares) Len() int { return len(s) }

func (s shares) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(s[j].bytes, s[i].bytes), s[i].address.Compare(s[j].address)) < 0
}

func (s shares) Swap(i, j int) { s[i], s[j] = s[j], s[i] }

// Push implements heap.Interface.
func (s *shares) Push(x any) { *s = append(*s, x.(*share)) }

// Pop implements heap.Interface.
func (s *shares) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	*s = (*s)[:last]
	return x
}

// sharesOf returns what addresses hold, the first of each address being the last to be ended.
func sharesOf(holders []holder) map[netip.Addr]*share {
	of := map[netip.Addr]*share{}
	for _, h := range holders {
		if h.bytes <= 0 {
			continue
		}
		s := of[h.address]
		if s == nil {
			s = &share{address: h.address}
			of[h.address] = s
		}
		s.bytes += h.bytes
		s.holders = append(s.holders, h)
	}
	for _, s := range of {
		slices.SortFunc(s.holders, func(x, y holder) int { return cmp.Compare(x.untaken, y.untaken) })
	}
	return of
}

// chooseEnded returns the readers that are ended to free some bytes. They are those of the
// address that holds most, first who has not taken anything for longest. Their address holds
// more than a large share; or they have had readingTime; or else all is for another address,
// which holds less than theirs, also with what it asks for.
func chooseEnded(holders []holder, excess, large int64, address netip.Addr, asked int64) (ended []*reader) {
	of := sharesOf(holders)
	own := of[address]
	if own == nil {
		own = &share{address: address}
	}
	most := make(shares, 0, len(of))
	for _, s := range of {
		most = append(most, s)
	}
	heap.Init(&most)
	for excess > 0 && len(most) > 0 {
		top := most[0]
		last := len(top.holders) - 1
		fair := asked > 0 && top != own && top.bytes > own.bytes+asked
		if last < 0 || top.bytes <= large && top.holders[last].untaken < readingTime && !fair {
			heap.Pop(&most)
			continue
		}
		h := top.holders[last]
		ended = append(ended, h.reader)
		excess -= h.bytes
		top.bytes -= h.bytes
		top.holders = top.holders[:last]
		heap.Fix(&most, 0)
	}
	return ended
}
