package peer

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/when"
)

// rest is that a peer is at rest: it is up at its endpoint, and as long as WireGuard shows the same of it,
// and nothing else changes, a step before a time changes nothing but the time of the last reading.
type rest struct {
	// until is that time; zero for a peer that is not at rest.
	until time.Time
	// probe is from when on a probe is sent that can as well be sent later.
	probe time.Time
	// The others are what WireGuard shows.
	endpoint                    netip.AddrPort
	handshake                   time.Time
	receiveBytes, transmitBytes int64
}

// holds reports whether a step changes nothing. MayProbe is Spec.MayProbeIdle.
func (r *rest) holds(now time.Time, mayProbe bool, seen *Observed) bool {
	return now.Before(r.until) && (!mayProbe || now.Before(r.probe)) && seen.Present && !seen.Replied &&
		seen.ReceiveBytes == r.receiveBytes && seen.TransmitBytes == r.transmitBytes &&
		seen.Endpoint == r.endpoint && seen.LastHandshake.Equal(r.handshake)
}

// restAfter returns the rest of a connection after a step in which it was up before.
func (c *Connection) restAfter(now time.Time, in *Input, p *pace, spec *mesh.PeerSpec, seen *Observed) rest {
	s := &c.Status
	if !seen.Present || !s.isStill() || !c.isSteady(in) || seen.Endpoint != s.Endpoint || !slices.Equal(c.Candidates, spec.Endpoints) ||
		in.Filtered[c.Key] || in.ProbeNow[c.Key] {
		return rest{}
	}
	r := rest{until: s.stillUntil(now, in.KeepalivesOff), endpoint: seen.Endpoint,
		probe:     s.probedAt(now, in.KeepalivesOff, p.idleAfter(in.Self.Compare(c.Key) < 0), p.measureAfter),
		handshake: seen.LastHandshake, receiveBytes: seen.ReceiveBytes, transmitBytes: seen.TransmitBytes}
	if !now.Before(r.until) {
		return rest{}
	}
	return r
}

// isSteady reports whether nothing is under way with the peer's endpoint and relays.
func (c *Connection) isSteady(in *Input) bool {
	path := in.pathTo(c.Key)
	return c.Action == Action{} && c.Relay.IsZero() && c.BlindRelay.IsZero() && !c.barred.IsValid() && c.LastGood == c.Status.Endpoint &&
		c.passage.staleSince.IsZero() && c.passage.renewals == 0 && (c.Path == path || !path.Endpoint.IsValid() && !c.Path.Endpoint.IsValid())
}

// isStill reports whether nothing is under way with a peer that is up.
func (s *Status) isStill() bool {
	return s.State == Up && s.Endpoint.IsValid() && !s.moved && !s.moving && !s.sendUnconfirmed && !s.displaced && !s.contested && !s.Lossy &&
		!s.InitiationDeferred() && !s.probing.active() && s.unansweredSince.IsZero() && s.Contact == Contact{} && len(s.Downs) < keptDowns
}

// maxStill bounds how long a peer is not looked at: an error in the rules below would not last.
const maxStill = time.Minute

// stillUntil returns until when a peer of which isStill is true is judged the same, and not probed, while
// WireGuard shows the same of it. Probes that can as well be sent later do not count.
func (s *Status) stillUntil(now time.Time, leftAtRest bool) time.Time {
	until := now.Add(maxStill)
	// isUp
	handshake := s.LastHandshake.After(s.LastEndpointChange)
	switch {
	case handshake && leftAtRest:
	case handshake:
		until = when.Earlier(until, s.LastHandshake.Add(handshakeExpiry))
	default:
		until = when.Earlier(until, s.LastHandshake.Add(RejectAfterTime))
	}
	// trusted and Loss
	if now.Before(s.distrustedUntil) {
		until = when.Earlier(until, s.distrustedUntil)
	}
	if end := s.LastHandshake.Add(RejectAfterTime); now.Before(end) {
		until = when.Earlier(until, end)
	}
	// probeDue
	if !leftAtRest && !s.trusted(now) {
		until = when.Earlier(until, s.lastReceived.Add(probeAfter))
	}
	return until
}

// probedAt returns from when on such a peer is sent a probe that can as well be sent later.
func (s *Status) probedAt(now time.Time, leftAtRest bool, idleAfter, measureAfter time.Duration) time.Time {
	at := now.Add(maxStill)
	if !leftAtRest {
		at = when.Earlier(at, s.lastReceived.Add(idleAfter)) // probeDue
	}
	if !leftAtRest || now.Sub(s.lastReceived) < unansweredAfter {
		at = when.Earlier(at, s.lastProbe.Add(s.measureWait(now, measureAfter))) // measureDue
	}
	return at
}

// keepsRest reports whether peers at rest may be left alone: all that concerns them is as at the last step.
func (t *Tracker) keepsRest(now time.Time, in *Input) bool {
	before := &t.input
	return !t.pending.open && t.rests != nil && len(in.Specs) == len(t.connections) && !now.Before(t.readAt) && !in.NetworkChanged &&
		in.Self == before.Self && in.AlwaysInitiate == before.AlwaysInitiate && in.KeepalivesOff == before.KeepalivesOff && in.Probing == before.Probing &&
		(isSame(in.Paths, before.Paths) || slices.Equal(in.Paths, before.Paths)) && slices.Equal(in.Registered, before.Registered) &&
		slices.EqualFunc(in.Relays, before.Relays, mesh.BlindRelay.Equal) &&
		(isSame(in.Specs, before.Specs) || slices.EqualFunc(in.Specs, t.connections, func(s mesh.PeerSpec, c Connection) bool { return s.PublicKey == c.Key }))
}

// isSame reports whether two lists are one in memory.
func isSame[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// sameSteps reports whether a step of a peer at rest is the same with two specs.
func sameSteps(a, b *mesh.PeerSpec) bool {
	return a.NodeID == b.NodeID && a.Probes == b.Probes && slices.Equal(a.Endpoints, b.Endpoints) && slices.Equal(a.Addresses, b.Addresses) &&
		slices.Equal(a.Registered, b.Registered) && slices.Equal(a.RelayEndpoints, b.RelayEndpoints) && a.WithoutAgent == b.WithoutAgent
}

// nextChanged is Next that leaves peers at rest alone.
func (t *Tracker) nextChanged(now time.Time, in *Input) Connections {
	t.catchUpSpare()
	next, observed := t.spare, in.Observed
	waiting := 0
	for _, i := range t.changed {
		waiting += t.connections[i].guessed()
	}
	p := newPace(now, t.readAt, nil, newGuesses(now, waiting), len(in.Specs))
	if t.probed() {
		p.occupants = occupants(t.connections)
	}
	same, changed := isSame(in.Specs, t.input.Specs), in.Changed
	for i := range in.Specs {
		spec, r := &in.Specs[i], &t.rests[i]
		for len(observed) > 0 && observed[0].Key.Compare(spec.PublicKey) < 0 {
			observed = observed[1:]
		}
		seen := &Observed{}
		if len(observed) > 0 && observed[0].Key == spec.PublicKey {
			seen = &observed[0]
		}
		unchanged := true
		if len(changed) > 0 && changed[0] == i {
			unchanged, changed = false, changed[1:]
		}
		if unchanged && r.holds(now, p.allowance > 0, seen) && (same || sameSteps(spec, &t.input.Specs[i])) && !in.concerns(spec.PublicKey) &&
			!p.displaced(&t.connections[i].Status) {
			continue
		}
		c := &next[i]
		*c = t.connections[i]
		c.catchUp(r, t.readAt)
		t.pending.stepped = append(t.pending.stepped, i)
		t.pending.rests = append(t.pending.rests, t.stepOne(now, in, &p, spec, c, seen))
	}
	return next
}

// concerns reports whether something is known of a peer that may move one at rest.
func (in *Input) concerns(key mesh.Key) bool {
	return len(in.Contested) > 0 && in.Contested[key] || len(in.ProbeNow) > 0 && in.ProbeNow[key] || len(in.Filtered) > 0 && in.Filtered[key]
}

// stepOne steps a connection with what it was before, and returns its rest.
func (t *Tracker) stepOne(now time.Time, in *Input, p *pace, spec *mesh.PeerSpec, c *Connection, seen *Observed) rest {
	wasUp := c.IsUp()
	c.Action = Action{}
	c.Key, c.NodeID = spec.PublicKey, spec.NodeID
	if !c.LastGood.IsValid() {
		c.LastGood = t.recall(spec)
	}
	c.step(now, in, p, spec, *seen)
	if !wasUp {
		return rest{}
	}
	return c.restAfter(now, in, p, spec, seen)
}

// catchUp gives a connection at rest the time of the last reading.
func (c *Connection) catchUp(r *rest, readAt time.Time) {
	if !r.until.IsZero() {
		c.Status.readAt, c.Status.LastUp = readAt, readAt
	}
}

// catchUpSpare makes the spare list that of the present connections.
func (t *Tracker) catchUpSpare() {
	if t.spare == nil {
		t.spare = slices.Clone(t.connections)
		return
	}
	for _, i := range t.changed {
		t.spare[i] = t.connections[i]
	}
}

// probed reports whether a peer is probed.
func (t *Tracker) probed() bool {
	return slices.ContainsFunc(t.changed, func(i int) bool {
		s := &t.connections[i].Status
		return s.State == Up && s.probing.active()
	})
}

// StepAll has the next Next step all connections.
func (t *Tracker) StepAll() {
	t.wake(nil)
	t.rests, t.spare = nil, nil
}

// Stepped returns the indexes of the connections that the last Next has stepped. The others are at rest:
// they are up at an endpoint of the peer, there is nothing to do about them, and but for the time of the
// last reading they are as they were committed. All is set where all were stepped. The list is used again.
func (t *Tracker) Stepped() (indexes []int, all bool) { return t.pending.stepped, t.pending.all }
