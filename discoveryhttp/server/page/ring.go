package page

import (
	"iter"
	"time"
)

// ring has the latest rows of a span.
type ring struct {
	// step is the least time between two rows.
	step time.Duration
	// size is the most rows there are.
	size int
	rows []row
	// next is the place of the next row once there are as many as there may be.
	next int
	// before is the reading at the last row.
	before Reading
}

// record adds a row if it is time for one.
func (g *ring) record(r Reading) {
	switch {
	case len(g.rows) == 0:
		g.add(first(r))
	// Readings come early or late.
	case r.Uptime-g.before.Uptime < g.step-Interval/2:
		return
	default:
		g.add(between(g.before, r))
	}
	g.before = r
}

func (g *ring) add(r row) {
	if len(g.rows) < g.size {
		g.rows = append(g.rows, r)
		return
	}
	g.rows[g.next] = r
	g.next = (g.next + 1) % g.size
}

// all are the rows, the oldest first.
func (g *ring) all() iter.Seq[*row] {
	return func(yield func(*row) bool) {
		for i := range g.rows {
			if !yield(&g.rows[(g.next+i)%len(g.rows)]) {
				return
			}
		}
	}
}

// last returns the newest row; nil if there is none.
func (g *ring) last() *row {
	if len(g.rows) == 0 {
		return nil
	}
	return &g.rows[(g.next+len(g.rows)-1)%len(g.rows)]
}
