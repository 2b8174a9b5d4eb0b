package path

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

const (
	// pingPause is the pause between two pings to a candidate.
	pingPause = 250 * time.Millisecond
	// lowTTL is the TTL of a round's first pings, lowPings of them: 1 s. It passes the NATs of this
	// end, two of them and a switch or two, and ends before those of the peer.
	lowTTL, lowPings = 4, 4
	// fullPings are a round's pings that go all hops: 5 s. News travels by discovery in less.
	fullPings = 20
	// extraPings are those where there is a path already, or where a ping came from: 1 s, so that a
	// lost one or two do not matter.
	extraPings = 4
	// pongTimeout is how old a ping may be when its pong comes: RekeyTimeout of the WireGuard paper.
	pongTimeout = 5 * time.Second
	// maxOutstanding is how many pings to a candidate may await their pong: 2 s of a round.
	maxOutstanding = 8
	// maxCandidates is how many published endpoints of a peer are probed, perAddress how many of them
	// at one address, where peers may have seen many ports of one NAT.
	maxCandidates, perAddress = 8, 4
	// maxLearnt is how many endpoints are kept that a peer has sent pings from without having published
	// them, and learntFor how long after its last ping.
	maxLearnt, learntFor = 4, time.Minute
	// replaceAfter is after how long a learnt one that has not answered makes room: the pings of a round.
	replaceAfter = fullPings * pingPause
	// maxPongs is how many pings of a source are answered in a second. A round has 4.
	maxPongs = 16
)

// candidate is an endpoint that may lead to a peer.
type candidate struct {
	endpoint netip.AddrPort
	// learnt is set where the peer has sent pings from here without having published it; since is when the
	// first of them came.
	learnt bool
	since  time.Time
	// low and left are how many pings with few hops are to be sent, and how many in all.
	low, left int
	// tried and answered are set once a ping was sent in this round, and once one was answered.
	tried, answered bool
	// triedAt is when the last ping was sent.
	triedAt time.Time
	rtt     time.Duration
	// backAt is when the last ping was sent back for one from there.
	backAt time.Time
	// heard is when the last ping came from there, and used when the last one on the peer's own path.
	heard, used time.Time
	outstanding [maxOutstanding]outstanding
	sent        int
	// second is when pongs were counted from.
	second time.Time
	pongs  int
}

// outstanding is a ping without a pong so far; the zero value is none.
type outstanding struct {
	id ID
	at time.Time
}

// start has pings sent in a round. One that is under way goes on, without another phase of few hops.
func (c *candidate) start(low bool, pings int) {
	if c.left == 0 {
		c.low, c.tried, c.answered = 0, false, false
		if low {
			c.low = lowPings
		}
	}
	c.left = c.low + pings
}

// stop ends the pings of a round.
func (c *candidate) stop() { c.low, c.left = 0, 0 }

// expect remembers a ping.
func (c *candidate) expect(now time.Time, id ID) {
	c.outstanding[c.sent%maxOutstanding] = outstanding{id, now}
	c.sent++
	c.tried, c.triedAt = true, now
}

// accept takes the ID of a pong, and reports whether it is that of a ping which was sent to this
// candidate a short while ago and has no pong yet.
func (c *candidate) accept(now time.Time, id ID) (rtt time.Duration, ok bool) {
	for i, o := range c.outstanding {
		if o.id != id || o.at.IsZero() {
			continue
		}
		c.outstanding[i] = outstanding{}
		rtt = max(now.Sub(o.at), 0)
		return rtt, rtt <= pongTimeout
	}
	return 0, false
}

// mayAnswer reports whether another ping from there is answered, and counts it. Copies get half of the
// answers at most, so that many of them do not stand in the way of others.
func (c *candidate) mayAnswer(now time.Time, isCopy bool) bool {
	if now.Sub(c.second) >= time.Second {
		c.second, c.pongs = now, 0
	}
	if c.pongs >= maxPongs || isCopy && c.pongs >= maxPongs/2 {
		return false
	}
	c.pongs++
	return true
}

// class orders candidates, the best first: private networks, then IPv6, which has no NATs, then IPv4.
func (c *candidate) class() int {
	switch a := c.endpoint.Addr(); {
	case a.IsPrivate():
		return 0
	case a.Is6():
		return 1
	default:
		return 2
	}
}

// natted reports whether NATs between the machines matter to the candidate: it is a public IPv4.
func (c *candidate) natted() bool { return c.class() == 2 }

// list sets the candidates by what the peer has published, and reports whether there is a new one.
func (p *Prober) list(t *target) (added bool) {
	published := t.peer.Endpoints
	if !t.peer.Relayed && t.peer.Current.IsValid() {
		published = append(slices.Clip(published), t.peer.Current)
	}
	var list []*candidate
	for i, e := range published {
		e = unmap(e)
		if len(list) == maxCandidates {
			break
		}
		if !p.usable(t, e) || find(list, e) != nil || countAt(list, e.Addr()) == perAddress {
			continue
		}
		c := find(t.candidates, e)
		if c == nil {
			c, added = &candidate{endpoint: e}, true
		}
		// WireGuard's endpoint need not be published by the peer.
		c.learnt = c.learnt && i == len(t.peer.Endpoints)
		list = append(list, c)
	}
	t.candidates = slices.Concat(list, p.unlisted(t, list))
	return added
}

// unlisted returns the candidates that are kept although the peer has not published them.
func (p *Prober) unlisted(t *target, listed []*candidate) (kept []*candidate) {
	for _, c := range t.candidates {
		if find(listed, c.endpoint) == nil && (c == t.path || c.learnt && len(kept) < maxLearnt && p.usable(t, c.endpoint)) {
			c.learnt = true
			kept = append(kept, c)
		}
	}
	return kept
}

// learn adds an endpoint that a ping of the peer came from; nil if there are too many.
func (p *Prober) learn(now time.Time, t *target, e netip.AddrPort) *candidate {
	learnt, oldest := 0, -1
	for i, c := range t.candidates {
		if !c.learnt || c == t.path {
			continue
		}
		learnt++
		if oldest < 0 || c.since.Before(t.candidates[oldest].since) {
			oldest = i
		}
	}
	if learnt >= maxLearnt {
		if now.Sub(t.candidates[oldest].since) < replaceAfter {
			return nil
		}
		t.candidates = slices.Delete(t.candidates, oldest, oldest+1)
	}
	c := &candidate{endpoint: e, learnt: true, since: now}
	t.candidates = append(t.candidates, c)
	return c
}

// usable reports whether an endpoint may be a peer's, and is neither a relay's nor this machine's.
func (p *Prober) usable(t *target, e netip.AddrPort) bool {
	a := e.Addr()
	return e.Port() != 0 && a.IsGlobalUnicast() && a.Zone() == "" && !slices.Contains(p.self.Endpoints, e) &&
		(!t.peer.Relayed || e != unmap(t.peer.Current))
}

// refused returns why no pings are sent to a candidate; empty if they are. Where the peer has sent pings
// from is tried with all kinds of NAT.
func (p *Prober) refused(t *target, c *candidate) Reason {
	if !c.learnt && c.natted() && p.self.NAT == mesh.NATDependent && t.peer.NAT == mesh.NATDependent {
		return BothDependent
	}
	return ""
}

// startsLow reports whether pings to a candidate go few hops at first: there may be a NAT in front of the
// peer which a ping that comes too early spoils.
func (p *Prober) startsLow(t *target, c *candidate) bool {
	return c.natted() && t.peer.NAT != mesh.NATNone
}

func unmap(e netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(e.Addr().Unmap(), e.Port()) }

func find(all []*candidate, e netip.AddrPort) *candidate {
	for _, c := range all {
		if c.endpoint == e {
			return c
		}
	}
	return nil
}

// countAt returns how many candidates have an address.
func countAt(all []*candidate, a netip.Addr) (n int) {
	for _, c := range all {
		if c.endpoint.Addr() == a {
			n++
		}
	}
	return n
}
