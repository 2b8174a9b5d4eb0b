package path

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// usedFor is how long a ping shows that the peer uses a path.
	usedFor = 15 * time.Second
	// rttChange is how much a round-trip time differs for Proven to show it.
	rttChange = time.Millisecond
)

// Heard takes a packet that came to WireGuard's port, and returns what is to be sent at once. Packets of
// others than the peers are dropped: one hash of a packet is made at most. A step is due afterwards.
func (p *Prober) Heard(now time.Time, from netip.AddrPort, payload []byte) (send []Send) {
	tag, is := TagOf(payload)
	if !is {
		return nil
	}
	t := p.byTag[tag]
	if t == nil {
		return nil
	}
	probe, ok := t.secret.Open(payload)
	if from = unmap(from); !ok || !p.usable(t, from) {
		return nil
	}
	if probe.Kind == Ping {
		send = p.pinged(now, t, from, probe)
	} else {
		p.ponged(now, t, from, probe)
	}
	p.schedule(t)
	return send
}

// pinged answers a ping, and sends one back: the ping may have made a hole.
func (p *Prober) pinged(now time.Time, t *target, from netip.AddrPort, probe Probe) (send []Send) {
	if slices.Contains(t.ids[:], probe.ID) {
		return nil // a copy
	}
	t.ids[t.nextID%maxIDs] = probe.ID
	t.nextID++
	if now.Sub(t.second) >= time.Second || now.Before(t.second) {
		t.second, t.backs, t.pongs = now, 0, 0
	}
	if t.pongs == maxPongs {
		return nil
	}
	t.pongs++
	m := t.secret.Seal(Probe{Kind: Pong, ID: probe.ID, Seen: from})
	send = []Send{{To: from, Payload: m[:]}}
	c := t.find(from)
	if c == nil {
		if c = p.learn(now, t, from); c == nil {
			return send
		}
	}
	c.heard = now
	if probe.Used {
		c.used = now
	}
	if c == t.path || t.backs == maxBacks {
		return send
	}
	t.backs++
	c.low = 0
	if c.left = max(c.left, 1); !c.answered {
		c.left = max(c.left, shortPings)
	}
	if t.roundAt.IsZero() && c.left > 1 {
		t.roundAt = now.Add(pingPause)
	}
	return p.ping(send, now, t, c)
}

// ponged takes the answer to a ping.
func (p *Prober) ponged(now time.Time, t *target, from netip.AddrPort, probe Probe) {
	c := t.find(from)
	if c == nil {
		return
	}
	i := slices.IndexFunc(c.outstanding[:], func(o outstanding) bool { return !o.at.IsZero() && o.id == probe.ID })
	if i < 0 {
		return
	}
	rtt := max(now.Sub(c.outstanding[i].at), 0)
	c.outstanding[i] = outstanding{}
	if c == t.path {
		// Only an answer of the latest pings shows that the path is there now.
		t.awaited, t.missed, t.pingAt = false, 0, now.Add(pingInterval)
		if difference := (rtt - c.rtt).Abs(); difference > rttChange && difference > c.rtt/4 {
			c.rtt, p.stale = rtt, true
		}
		return
	}
	c.rtt, c.answered = rtt, true
	if t.path == nil || p.prefers(now, t, c) {
		p.adopt(now, t, c)
	}
	c.sent, c.full = 0, 0
}

// prefers reports whether a candidate that has answered takes the place of the path in use.
func (p *Prober) prefers(now time.Time, t *target, c *candidate) bool {
	if p.decides(t) {
		return c.better(t.path)
	}
	return c.used.After(t.path.used) && now.Sub(c.used) < usedFor
}
