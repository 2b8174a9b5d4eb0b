package path

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

const (
	// pingPause is the pause between two pings to a candidate in a round.
	pingPause = 250 * time.Millisecond
	// fewHops is the TTL of the first pings, lowPings of them.
	fewHops, lowPings = 4, 4
	// fullPings are the pings of a round that go all hops, longPings those after a path has died, and
	// shortPings those where there is a path already.
	fullPings, longPings, shortPings = 20, 60, 4
	// maxCandidates is how many endpoints that a peer has published are probed, perAddress how many of
	// them at one address, and maxLearnt how many are that the peer has sent pings from.
	maxCandidates, perAddress, maxLearnt = 8, 4, 4
	// learntFor is how long an endpoint is kept that the peer has sent pings from.
	learntFor = time.Minute
	// replaceAfter is after how long another one may take its place.
	replaceAfter = 5 * time.Second
	// maxOutstanding is how many pings to a candidate are kept until their answers.
	maxOutstanding = 8
)

// candidate is an endpoint that may lead to a peer.
type candidate struct {
	endpoint netip.AddrPort
	// learnt is set where the peer has not published it: its pings came from there.
	learnt bool
	// low and left are how many pings with few hops are to be sent, and how many in all.
	low, left int
	// sent counts the pings since the last answer, and full those of them that went all hops.
	sent, full int
	answered   bool
	rtt        time.Duration
	// heard is when a ping came from there, and used when one did on the path that the peer uses.
	heard, used time.Time
	outstanding [maxOutstanding]outstanding
	next        int
}

// outstanding is a ping that was sent; the zero value is none.
type outstanding struct {
	id ID
	at time.Time
}

// start has pings sent to a candidate. Those behind a NAT get some with few hops first.
func (c *candidate) start(p *Prober, t *target, pings int) {
	if c.left == 0 {
		c.low, c.sent, c.full = 0, 0, 0
		if t.peer.NAT != mesh.NATNone && p.self.NAT != mesh.NATNone {
			c.low = lowPings
		}
	}
	c.left = c.low + pings
}

// ping sends a ping to a candidate.
func (p *Prober) ping(send []Send, now time.Time, t *target, c *candidate) []Send {
	ping := Probe{Kind: Ping, ID: p.newID(), Used: c == t.path}
	m := t.secret.Seal(ping)
	s := Send{To: c.endpoint, Payload: m[:]}
	if c.low > 0 {
		c.low--
		s.TTL = fewHops
	} else {
		c.full++
	}
	c.left = max(c.left-1, 0)
	c.sent++
	c.outstanding[c.next%maxOutstanding] = outstanding{ping.ID, now}
	c.next++
	p.tokens--
	return append(send, s)
}

// list sets the candidates by what the peer has published, and reports whether there is a new one.
func (p *Prober) list(t *target) (added bool) {
	old := t.candidates
	t.candidates = nil
	published := t.peer.Endpoints
	if !t.peer.Relayed && t.peer.Current.IsValid() {
		published = append(slices.Clip(published), t.peer.Current)
	}
	for _, e := range published {
		e = unmap(e)
		if len(t.candidates) == maxCandidates {
			break
		}
		if !p.usable(t, e) || t.find(e) != nil || t.at(e.Addr()) == perAddress {
			continue
		}
		c := find(old, e)
		if c == nil {
			c, added = &candidate{endpoint: e}, true
		}
		c.learnt = false
		t.candidates = append(t.candidates, c)
	}
	learnt := 0
	for _, c := range old {
		if t.find(c.endpoint) == nil && (c == t.path || c.learnt && learnt < maxLearnt && p.usable(t, c.endpoint)) {
			c.learnt = true
			learnt++
			t.candidates = append(t.candidates, c)
		}
	}
	return added
}

// learn adds an endpoint that a ping of the peer came from; nil if there are too many.
func (p *Prober) learn(now time.Time, t *target, e netip.AddrPort) *candidate {
	if !p.usable(t, e) {
		return nil
	}
	learnt := 0
	oldest := -1
	for i, c := range t.candidates {
		if !c.learnt || c == t.path {
			continue
		}
		learnt++
		if oldest < 0 || c.heard.Before(t.candidates[oldest].heard) {
			oldest = i
		}
	}
	if learnt >= maxLearnt {
		if now.Sub(t.candidates[oldest].heard) < replaceAfter {
			return nil
		}
		t.candidates = slices.Delete(t.candidates, oldest, oldest+1)
	}
	c := &candidate{endpoint: e, learnt: true}
	t.candidates = append(t.candidates, c)
	return c
}

// usable reports whether an endpoint may be a peer's, and is neither a relay's nor this machine's.
func (p *Prober) usable(t *target, e netip.AddrPort) bool {
	a := e.Addr()
	return e.Port() != 0 && a.IsGlobalUnicast() && a.Zone() == "" && !slices.Contains(p.self.Endpoints, e) &&
		(!t.peer.Relayed || e != unmap(t.peer.Current))
}

// refused returns why no pings are sent to a candidate; empty if they are. What the peer sent pings from
// is tried with all kinds of NAT. Neither private networks nor IPv6 have NATs on the way.
func (c *candidate) refused(p *Prober, t *target) Reason {
	if !c.learnt && p.self.NAT == mesh.NATDependent && t.peer.NAT == mesh.NATDependent && isPublic4(c.endpoint) {
		return BothDependent
	}
	return ""
}

// punched reports whether both ends had to send before the candidate could answer.
func (c *candidate) punched(p *Prober, t *target) bool {
	if isPublic4(c.endpoint) && isNATed(p.self.NAT) && isNATed(t.peer.NAT) {
		return true
	}
	return c.full > 1 && !c.heard.IsZero()
}

// better reports whether a candidate is better than another one: inside of a private network, then
// IPv6, which has no NATs.
func (c *candidate) better(other *candidate) bool { return c.class() < other.class() }

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

func isPublic4(e netip.AddrPort) bool { return e.Addr().Is4() && !e.Addr().IsPrivate() }

func unmap(e netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(e.Addr().Unmap(), e.Port()) }

func (t *target) find(e netip.AddrPort) *candidate { return find(t.candidates, e) }

func find(all []*candidate, e netip.AddrPort) *candidate {
	for _, c := range all {
		if c.endpoint == e {
			return c
		}
	}
	return nil
}

// at returns how many candidates have an address.
func (t *target) at(a netip.Addr) (n int) {
	for _, c := range t.candidates {
		if c.endpoint.Addr() == a {
			n++
		}
	}
	return n
}
