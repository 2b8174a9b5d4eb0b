package path

import (
	"container/heap"
	"time"

	"github.com/spanmesh/span/reconciler/when"
)

// queue has the targets with something to do, the one that is due first in front.
type queue []*target

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is heap.Interface's.
func (q *queue) Push(x any) {
	t := x.(*target)
	t.index = len(*q)
	*q = append(*q, t)
}

// Pop is heap.Interface's.
func (q *queue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last], *q = nil, (*q)[:last]
	t.index = -1
	return t
}

// schedule puts a target where it belongs after a change.
func (p *Prober) schedule(t *target) {
	t.due = t.next()
	switch {
	case t.index < 0 && !t.due.IsZero() && !t.gone:
		heap.Push(&p.queue, t)
	case t.index >= 0 && t.due.IsZero():
		heap.Remove(&p.queue, t.index)
	case t.index >= 0:
		heap.Fix(&p.queue, t.index)
	}
}

// next is when a target has something to do; zero for never.
func (t *target) next() time.Time {
	next := when.Earlier(t.retryAt, t.roundAt)
	if t.path != nil {
		next = when.Earlier(next, t.pingAt)
	}
	return next
}
