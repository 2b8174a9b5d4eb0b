package path

import (
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

const (
	// pingInterval is the pause between two pings on a path, and pingRetry between two of which the
	// first was not answered. A path is given up after maxMissed.
	pingInterval, pingRetry = 10 * time.Second, time.Second
	maxMissed               = 3
	// silence has routers forget what they have taken for their own: Linux after 30 seconds.
	silence = 35 * time.Second
	// period is that of rounds at first. It doubles up to maxDoublings times.
	period       = 42 * time.Second
	maxDoublings = 3
	// newsInterval is how often news of a peer begin a round, and newsBurst how many may do so at once.
	newsInterval = 10 * time.Second
	newsBurst    = 4
	// maxIDs is how many IDs of a peer's pings are kept: a copy of one is not answered.
	maxIDs = 32
	// maxBacks and maxPongs are how many pings are sent back to a peer in a second, and how many are
	// answered.
	maxBacks, maxPongs = 8, 64
)

// target is a peer and what is done to find a path to it.
type target struct {
	peer   Peer
	secret *Secret
	// pass is the last list of peers that has it. Gone is set once none has.
	pass int
	gone bool
	// due and index are its place in the queue; -1 for none.
	due   time.Time
	index int

	candidates []*candidate
	// path is the candidate in use; nil for none.
	path    *candidate
	punched bool
	// pingAt is when the path is probed. Awaited is set while the last ping has no answer.
	pingAt  time.Time
	awaited bool
	missed  int

	// active is set during a round, and waiting until one may begin.
	active, waiting bool
	// roundAt is when the next pings of candidates are due, and retryAt when the next round is.
	roundAt, retryAt time.Time
	failed           int
	// newsLeft is how many news may begin a round, as of newsAt.
	newsLeft int
	newsAt   time.Time

	ids    [maxIDs]ID
	nextID int
	// second is when backs and pongs were counted from.
	second       time.Time
	backs, pongs int
}

// act sends what is due.
func (p *Prober) act(send []Send, now time.Time, t *target) []Send {
	if t.path != nil && !now.Before(t.pingAt) {
		send = p.keep(send, now, t)
	}
	if t.path == nil && !t.retryAt.IsZero() && !now.Before(t.retryAt) {
		p.begin(now, t, false, fullPings)
	}
	if t.roundAt.IsZero() || now.Before(t.roundAt) {
		return send
	}
	t.roundAt = time.Time{}
	for _, c := range t.candidates {
		if c.left == 0 {
			continue
		}
		send = p.ping(send, now, t, c)
		t.roundAt = now.Add(pingPause)
	}
	if t.roundAt.IsZero() {
		p.end(now, t)
	}
	return send
}

// keep probes the path in use, or gives it up.
func (p *Prober) keep(send []Send, now time.Time, t *target) []Send {
	if t.awaited {
		if t.missed++; t.missed >= maxMissed {
			p.die(now, t)
			return send
		}
	}
	t.awaited, t.pingAt = true, now.Add(pingRetry)
	return p.ping(send, now, t, t.path)
}

// die gives the path up, and looks for one at once. The peer may notice up to 13 seconds later.
func (p *Prober) die(now time.Time, t *target) {
	t.path.answered = false
	t.path, t.awaited, t.missed, t.punched = nil, false, 0, false
	p.stale = true
	p.begin(now, t, true, longPings)
}

// news begins a round for what has changed.
func (p *Prober) news(now time.Time, t *target) {
	if t.secret == nil {
		return
	}
	if t.path != nil {
		for _, c := range t.candidates {
			if c != t.path && c.sent == 0 && c.refused(p, t) == "" {
				c.start(p, t, shortPings)
				t.roundAt = now
			}
		}
		return
	}
	if passed := now.Sub(t.newsAt) / newsInterval; t.newsAt.IsZero() || passed >= newsBurst {
		t.newsLeft, t.newsAt = newsBurst, now
	} else if passed > 0 {
		t.newsLeft, t.newsAt = min(newsBurst, t.newsLeft+int(passed)), t.newsAt.Add(passed*newsInterval)
	}
	if t.newsLeft == 0 {
		t.retryAt = earliest(t.retryAt, t.newsAt.Add(newsInterval))
		return
	}
	t.newsLeft--
	t.failed = 0
	p.begin(now, t, true, fullPings)
}

// begin begins a round, or goes on with the one under way. It waits where too many are under way.
func (p *Prober) begin(now time.Time, t *target, urgent bool, pings int) {
	t.retryAt = time.Time{}
	if !t.active && p.rounds >= maxRounds {
		if !t.waiting {
			place := 1
			if urgent {
				place = 0
			}
			t.waiting = true
			p.waiting[place] = append(p.waiting[place], t)
		}
		return
	}
	if !t.active {
		t.active = true
		p.rounds++
		t.candidates = slices.DeleteFunc(t.candidates, func(c *candidate) bool { return c.learnt && now.Sub(c.heard) > learntFor })
	}
	t.roundAt = now
	for _, c := range t.candidates {
		if c.refused(p, t) == "" {
			c.start(p, t, pings)
		}
	}
}

// end ends a round.
func (p *Prober) end(now time.Time, t *target) {
	if !t.active {
		return
	}
	t.active = false
	p.rounds--
	if t.path == nil {
		t.failed++
		t.retryAt = t.nextRound(now)
	}
}

// admit begins the rounds that have waited.
func (p *Prober) admit(now time.Time) {
	for i := range p.waiting {
		for p.rounds < maxRounds && len(p.waiting[i]) > 0 {
			t := p.waiting[i][0]
			p.waiting[i] = p.waiting[i][1:]
			if t.waiting = false; t.gone || t.path != nil || t.active {
				continue
			}
			p.begin(now, t, false, fullPings)
			p.schedule(t)
		}
		if len(p.waiting[i]) == 0 {
			p.waiting[i] = nil
		}
	}
}

// nextRound is when the next round begins, after a silence. By the clock, which both ends have, so that
// both begin at once: the times of a longer period are times of the shorter ones too.
func (t *target) nextRound(now time.Time) time.Time {
	every := period << min(max(t.failed-1, 0), maxDoublings)
	first := now.Add(silence)
	phase := time.Duration(t.secret.phase % uint64(period<<maxDoublings))
	since := time.Duration((first.UnixNano() - int64(phase)) % int64(every))
	return first.Add((every - since) % every)
}

// adopt has a candidate that has answered carry packets.
func (p *Prober) adopt(now time.Time, t *target, c *candidate) {
	t.punched = c.punched(p, t)
	t.path, t.awaited, t.missed, t.failed, t.retryAt = c, false, 0, 0, time.Time{}
	t.pingAt = now.Add(pingInterval)
	if p.decides(t) {
		t.pingAt = now // to show the peer which path is used
	}
	for _, other := range t.candidates {
		other.left = min(other.left, shortPings)
	}
	c.left = 0
	p.stale = true
}

// decides reports whether this end decides which of several paths both use. WireGuard takes the
// endpoint that packets come from, so that two paths would change places all the time.
func (p *Prober) decides(t *target) bool { return p.self.Public.Compare(t.peer.Key) < 0 }

// isNATed reports whether a NAT is known to be of a kind that changes ports or addresses.
func isNATed(n mesh.NAT) bool { return n == mesh.NATIndependent || n == mesh.NATDependent }
