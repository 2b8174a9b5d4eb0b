package path

import (
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/when"
)

const (
	// pingInterval is the pause between two pings on a path: WireGuard's KeepaliveTimeout, and well
	// below the 30 s after which NATs forget (RFC 4787, REQ-5, has them keep 120 s; Linux keeps 30 s).
	pingInterval = 10 * time.Second
	// suspectInterval is that pause after news that may have ended the path.
	suspectInterval = time.Second
	// maxMissed is how many pings without a pong end a path, 10 s after the last of them.
	maxMissed = 3
	// silence has routers forget what they have taken for their own: Linux after 30 s
	// (nf_conntrack_udp_timeout).
	silence = 35 * time.Second
	// period is that of rounds at first: a round of 6 s, the silence, and a second for clocks that
	// differ. It doubles maxDoublings times, to 5.6 minutes.
	period, maxDoublings = 42 * time.Second, 3
	// newsInterval is how often news of a peer begin a round in the long run, no more often than without
	// news, and newsBurst how many may do so at once. A start brings a few: the peers, the own NAT, what
	// peers learn of it.
	newsInterval, newsBurst = period, 4
	// maxIDs is how many IDs of a peer's last pings are kept, to know copies: 5 minutes of a path.
	maxIDs = 32
)

// target is a peer and what is done to find a path to it.
type target struct {
	peer Peer
	// secret is nil until its turn to be made.
	secret *Secret
	// pass is the last list of peers that has it. Gone is set once none has.
	pass int
	gone bool
	// due and index are its place in the queue; -1 for none.
	due   time.Time
	index int

	candidates []*candidate
	// path is the candidate in use; nil for none.
	path *candidate
	// pingAt is when the path is probed next, and missed counts the pings since the last pong.
	pingAt time.Time
	missed int
	// suspect is set until the next pong after news that may have ended the path.
	suspect bool

	// active is set during a round, and waiting until there is room for one.
	active, waiting bool
	// roundAt is when candidates are pinged next, and retryAt when the next round begins.
	roundAt, retryAt time.Time
	// failed counts the rounds without a path since the last news.
	failed int
	// newsAt is when the news so far are used up, at newsInterval each.
	newsAt time.Time

	ids    [maxIDs]ID
	nextID int
}

// act sends what is due.
func (p *Prober) act(send []Send, now time.Time, t *target) []Send {
	if t.path != nil && !now.Before(t.pingAt) {
		send = p.keep(send, now, t)
	}
	if isDue(now, t.retryAt) {
		p.begin(now, t)
	}
	if !isDue(now, t.roundAt) {
		return send
	}
	t.roundAt = time.Time{}
	for _, c := range t.candidates {
		if c.left > 0 {
			send = p.ping(send, now, t, c)
			t.roundAt = now.Add(pingPause)
		}
	}
	if t.roundAt.IsZero() {
		p.end(now, t)
	}
	return send
}

// isDue reports whether a time has come; zero is never.
func isDue(now, at time.Time) bool { return !at.IsZero() && !now.Before(at) }

// ping sends a ping to a candidate.
func (p *Prober) ping(send []Send, now time.Time, t *target, c *candidate) []Send {
	id := p.newID()
	m := t.secret.Seal(Probe{Kind: Ping, ID: id, Used: c == t.path})
	s := Send{To: c.endpoint, Payload: m[:]}
	if c.low > 0 {
		c.low--
		s.TTL = lowTTL
	}
	c.left = max(c.left-1, 0)
	c.expect(now, id)
	return append(send, s)
}

// keep probes the path in use, or gives it up.
func (p *Prober) keep(send []Send, now time.Time, t *target) []Send {
	if t.missed == maxMissed {
		p.die(now, t)
		return send
	}
	t.missed++
	t.pingAt = now.Add(pingInterval)
	if t.suspect {
		t.pingAt = now.Add(suspectInterval)
	}
	return p.ping(send, now, t, t.path)
}

// doubt has the path in use probed more often until it answers, the first time after a delay. A ping
// that is under way has its time.
func (t *target) doubt(now time.Time, delay time.Duration) {
	if t.path == nil || t.suspect {
		return
	}
	if t.missed > 0 {
		delay = suspectInterval
	}
	t.suspect, t.pingAt = true, when.Earlier(t.pingAt, now.Add(delay))
}

// die gives the path up, and looks for one at once.
func (p *Prober) die(now time.Time, t *target) {
	t.path.answered = false
	t.path, t.missed, t.suspect = nil, 0, false
	p.stale = true
	p.begin(now, t)
}

// adopt has a candidate that has answered carry packets.
func (p *Prober) adopt(now time.Time, t *target, c *candidate) {
	t.path, t.missed, t.suspect, t.failed, t.retryAt = c, 0, false, 0, time.Time{}
	t.pingAt = now.Add(pingInterval)
	if p.decides(t) {
		t.pingAt = now // shows the peer which path is used
	}
	c.stop()
	for _, other := range t.candidates {
		other.left = min(other.left, other.low+extraPings)
	}
	p.end(now, t) // makes room for another peer's round
	p.stale = true
}

// decides reports whether this end decides which of several paths both use. WireGuard takes the
// endpoint that packets come from, so that two paths would change places all the time.
func (p *Prober) decides(t *target) bool { return p.self.Public.Compare(t.peer.Key) < 0 }

// news begins a round for what has changed, at once but for too much of it.
func (p *Prober) news(now time.Time, t *target) {
	if t.secret == nil {
		return
	}
	if full := now.Add(-newsBurst * newsInterval); t.newsAt.Before(full) {
		t.newsAt = full
	}
	if next := t.newsAt.Add(newsInterval); next.After(now) {
		t.retryAt = when.Earlier(t.retryAt, next)
		return
	}
	t.newsAt = t.newsAt.Add(newsInterval)
	t.failed = 0
	p.begin(now, t)
}

// begin begins a round, or that under way anew. It waits where too many are under way.
func (p *Prober) begin(now time.Time, t *target) {
	t.retryAt = time.Time{}
	if !t.active && p.rounds >= maxRounds {
		if !t.waiting {
			t.waiting = true
			p.waiting = append(p.waiting, t)
		}
		return
	}
	if !t.active {
		t.active = true
		p.rounds++
		t.candidates = slices.DeleteFunc(t.candidates, func(c *candidate) bool {
			return c.learnt && c != t.path && now.Sub(c.heard) > learntFor
		})
	}
	t.roundAt = now
	pings := fullPings
	if t.path != nil {
		pings = extraPings
	}
	for _, c := range t.candidates {
		if c != t.path && p.refused(t, c) == "" {
			c.start(p.startsLow(t, c), pings)
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
		t.retryAt = when.Earlier(t.retryAt, t.nextRound(now))
	}
}

// nextRound returns when the next round begins, after a silence. It goes by the clock, which both ends
// have, so that both begin at once: the times of a longer period are times of the shorter ones too.
func (t *target) nextRound(now time.Time) time.Time {
	every := period << min(max(t.failed-1, 0), maxDoublings)
	first := now.Add(silence)
	phase := time.Duration(t.secret.phase % uint64(period<<maxDoublings))
	since := time.Duration((first.UnixNano() - int64(phase)) % int64(every))
	return first.Add((every - since) % every)
}

// punched reports whether NATs of both ends had to be opened for the path.
func (p *Prober) punched(t *target) bool {
	return t.path.natted() && isNAT(p.self.NAT) && isNAT(t.peer.NAT)
}

func isNAT(n mesh.NAT) bool { return n == mesh.NATIndependent || n == mesh.NATDependent }
