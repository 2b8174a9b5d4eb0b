package relay

import (
	"slices"
	"time"
)

const (
	// sweepEvery is how often all ends are swept for what is too old.
	sweepEvery = 8 * time.Second
	// sweepParts is in how many calls many ends are swept, so that none takes long.
	sweepParts = 64
	// sweepAtOnce is the least number of ends that one call sweeps.
	sweepAtOnce = 256
)

// Expire forgets what is too old, and returns when it is to be called again.
func (r *Router) Expire(now time.Time) (next time.Time) {
	r.tick(now)
	if r.swept <= 0 {
		r.expireMembers()
		r.swept = len(r.ends)
	}
	part := max(sweepAtOnce, len(r.ends)/sweepParts)
	// From the end: an end that is forgotten is replaced by one that was looked at.
	for ; part > 0 && r.swept > 0; part-- {
		r.swept = min(r.swept, len(r.ends)) - 1
		if r.swept >= 0 {
			r.expireEnd(r.ends[r.swept])
		}
	}
	if r.swept > 0 {
		return now.Add(sweepEvery / sweepParts)
	}
	return now.Add(sweepEvery)
}

// expireMembers ends what Join has allowed for a time, and sessions.
func (r *Router) expireMembers() {
	for _, m := range r.members {
		for c, until := range m.until {
			if until <= r.now {
				r.leave(m, c)
			}
		}
		m.sessions = slices.DeleteFunc(m.sessions, func(s *session) bool {
			if !s.over(r.now) {
				return false
			}
			delete(r.sessions, s.index())
			return true
		})
		if len(m.sessions) == 0 && m.end != nil {
			// Another machine may have the address by now.
			r.leavePlace(m.end)
			r.leaveStream(m.end)
		}
	}
	for n, until := range r.completed {
		if until <= r.now {
			delete(r.completed, n)
		}
	}
	for _, c := range r.clusters {
		for _, f := range c.foreign {
			if f.until <= r.now {
				r.removeForeign(f)
			}
		}
	}
}

// expireEnd forgets flows that are over, and ends without any.
func (r *Router) expireEnd(e *end) {
	for i, f := range e.flows {
		if f.over(r.now) {
			r.closeFlow(f.pair, i)
		}
	}
	if e.member != nil && len(e.pairs) <= lastCorrespondents {
		return
	}
	for other, p := range e.pairs {
		if !r.hasFlows(p) && !r.hasFlows(other.pairs[e]) {
			r.unlink(e, other)
		}
	}
	if e.member == nil && len(e.pairs) == 0 {
		r.forget(e)
	}
}

func (r *Router) hasFlows(p *pair) bool { return len(r.flowsOf(p)) > 0 }
