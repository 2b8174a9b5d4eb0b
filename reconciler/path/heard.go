package path

import (
	"net/netip"
	"slices"
	"time"
)

// usedFor is how long a ping shows that the peer uses a path: one ping of it may be lost.
const usedFor = 15 * time.Second

// Heard takes a packet that came to WireGuard's port, and returns what is to be sent at once: at most
// one packet of Size bytes for each ping, and another ping to its source in each quarter of a second.
// Packets of others than the peers are dropped, at the price of one hash. A step is due afterwards.
func (p *Prober) Heard(now time.Time, from netip.AddrPort, packet []byte) (send []Send) {
	tag, is := TagOf(packet)
	if !is {
		return nil
	}
	t := p.byTag[tag]
	if t == nil {
		return nil
	}
	probe, ok := t.secret.Open(packet)
	if from = unmap(from); !ok || !p.usable(t, from) {
		return nil
	}
	if probe.Kind == Ping {
		send = p.pinged(now, t, from, probe)
	} else {
		p.ponged(now, t, from, probe.ID)
	}
	p.schedule(t)
	return send
}

// pinged answers a ping, and sends one back: the ping may have made a hole in a NAT. A copy of a ping is
// answered where the peer is known to be, in case that it was quicker than the ping itself, and changes
// nothing.
func (p *Prober) pinged(now time.Time, t *target, from netip.AddrPort, probe Probe) (send []Send) {
	isCopy := t.remember(probe.ID)
	c := find(t.candidates, from)
	if c == nil && !isCopy {
		c = p.learn(now, t, from)
	}
	if c == nil || !c.mayAnswer(now, isCopy) {
		return nil
	}
	pong := t.secret.Seal(Probe{Kind: Pong, ID: probe.ID, Seen: from})
	send = []Send{{To: from, Payload: pong[:]}}
	if isCopy {
		return send
	}
	c.heard = now
	if probe.Used {
		c.used = now
		if c != t.path {
			t.doubt(now, 0)
		}
	}
	if c == t.path || now.Sub(c.backAt) < pingPause {
		return send
	}
	c.backAt = now
	c.low, c.left = 0, max(c.left, 1)
	if !c.answered {
		c.left = max(c.left, extraPings)
	}
	if t.roundAt.IsZero() {
		t.roundAt = now.Add(pingPause)
	}
	return p.ping(send, now, t, c)
}

// remember keeps the ID of a ping, and reports whether it was kept already.
func (t *target) remember(id ID) (known bool) {
	if slices.Contains(t.ids[:], id) {
		return true
	}
	t.ids[t.nextID] = id
	t.nextID = (t.nextID + 1) % maxIDs
	return false
}

// ponged takes the answer to a ping.
func (p *Prober) ponged(now time.Time, t *target, from netip.AddrPort, id ID) {
	c := find(t.candidates, from)
	if c == nil {
		return
	}
	rtt, ok := c.accept(now, id)
	if !ok {
		return
	}
	c.rtt, c.answered = rtt, true
	switch {
	case c == t.path:
		t.missed, t.suspect, t.pingAt = 0, false, now.Add(pingInterval)
	case t.path == nil || p.prefers(now, t, c):
		p.adopt(now, t, c)
	}
}

// prefers reports whether a candidate that has answered takes the place of the path in use: one that is
// better, or the peer's, or any where pings of the path are missed, of which the last may be on its way.
func (p *Prober) prefers(now time.Time, t *target, c *candidate) bool {
	if t.missed > 1 || p.decides(t) {
		return t.missed > 1 || c.class() < t.path.class()
	}
	return c.used.After(t.path.used) && now.Sub(c.used) < usedFor
}
