package peer

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/when"
)

// rest describes a peer that is up and needs no work before until, unless WireGuard shows something else.
type rest struct {
	// until is zero for a peer that is not at rest.
	until Instant
	// probe is from when on a probe is sent that can as well be sent later.
	probe Instant
	// The others are what WireGuard shows.
	endpoint                    netip.AddrPort
	handshake                   Instant
	receiveBytes, transmitBytes int64
}

// holds reports whether a step changes nothing. MayProbe is Spec.MayProbeIdle.
func (r *rest) holds(now Instant, mayProbe bool, seen *Observed) bool {
	return now < r.until && (!mayProbe || now < r.probe) && seen.Present && !seen.Replied &&
		seen.ReceiveBytes == r.receiveBytes && seen.TransmitBytes == r.transmitBytes &&
		seen.Endpoint == r.endpoint && InstantOf(seen.LastHandshake) == r.handshake
}

// restAfter returns the rest of a connection after a step in which it was up before.
func (c *Connection) restAfter(now time.Time, in *Input, p *pace, spec *mesh.PeerSpec, seen *Observed) rest {
	s := &c.Status
	if !seen.Present || !s.isStill() || !c.isSteady(in) || seen.Endpoint != s.Endpoint || !slices.Equal(c.Candidates, spec.Endpoints) ||
		in.Filtered[c.Key] || in.ProbeNow[c.Key] {
		return rest{}
	}
	r := rest{until: InstantOf(s.stillUntil(now, in.KeepalivesOff)), endpoint: seen.Endpoint,
		probe:     InstantOf(s.probedAt(now, in.KeepalivesOff, p.idleAfter(in.Self.Compare(c.Key) < 0), p.measureAfter)),
		handshake: InstantOf(seen.LastHandshake), receiveBytes: seen.ReceiveBytes, transmitBytes: seen.TransmitBytes}
	if InstantOf(now) >= r.until {
		return rest{}
	}
	return r
}

// isSteady reports whether nothing is under way with the peer's endpoint and relays.
func (c *Connection) isSteady(in *Input) bool {
	path := in.pathTo(c.Key)
	return c.Action == Action{} && c.Relay.IsZero() && c.BlindRelay.IsZero() && !c.shuns().barred.IsValid() && c.LastGood == c.Status.Endpoint &&
		c.passage.staleSince.IsZero() && c.passage.renewals == 0 && (c.path() == path || !path.Endpoint.IsValid() && c.Path == nil)
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
	if now.Before(s.distrustedUntil.Time()) {
		until = when.Earlier(until, s.distrustedUntil.Time())
	}
	if end := s.LastHandshake.Add(RejectAfterTime); now.Before(end) {
		until = when.Earlier(until, end)
	}
	// probeDue
	if !leftAtRest && !s.trusted(now) {
		until = when.Earlier(until, s.lastReceived.Time().Add(probeAfter))
	}
	return until
}

// probedAt returns from when on such a peer is sent a probe that can as well be sent later.
func (s *Status) probedAt(now time.Time, leftAtRest bool, idleAfter, measureAfter time.Duration) time.Time {
	at := now.Add(maxStill)
	if !leftAtRest {
		at = when.Earlier(at, s.lastReceived.Time().Add(idleAfter)) // probeDue
	}
	if !leftAtRest || s.lastReceived.age(now) < unansweredAfter {
		at = when.Earlier(at, s.lastProbe.Time().Add(s.measureWait(now, measureAfter))) // measureDue
	}
	return at
}

// keepsRest reports whether peers at rest may be left alone: all that concerns them is as at the last step.
func (t *Tracker) keepsRest(now time.Time, in *Input) bool {
	before := &t.input
	return !t.pending.open && t.rests != nil && t.knows(in) && !now.Before(t.readAt) && !in.NetworkChanged &&
		in.Self == before.Self && in.AlwaysInitiate == before.AlwaysInitiate && in.KeepalivesOff == before.KeepalivesOff && in.Probing == before.Probing &&
		(isSame(in.Paths, before.Paths) || slices.Equal(in.Paths, before.Paths)) && slices.Equal(in.Registered, before.Registered) &&
		slices.EqualFunc(in.Relays, before.Relays, mesh.BlindRelay.Equal)
}

// knows reports whether the peers are those of the last step, or it is known who else has joined and left.
func (t *Tracker) knows(in *Input) bool {
	if len(t.rests) != len(t.connections) {
		return false
	}
	if in.Before != nil {
		return isSame(in.Before, t.input.Specs) && len(in.Before) == len(t.connections) && len(in.Specs) == len(in.Before)-len(in.Left)+len(in.Joined)
	}
	return len(in.Specs) == len(t.connections) && (isSame(in.Specs, t.input.Specs) ||
		slices.EqualFunc(in.Specs, t.connections, func(s mesh.PeerSpec, c Connection) bool { return s.PublicKey == c.Key }))
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
	next, rests, same := t.lists(in)
	observed, changed := in.Observed, in.Changed
	waiting := 0
	for _, i := range t.changed {
		waiting += t.connections[i].guessed()
	}
	at := InstantOf(now)
	p := newPace(now, t.readAt, nil, newGuesses(now, waiting), len(in.Specs))
	if t.probed() {
		p.occupants = occupants(t.connections)
	}
	for i := range in.Specs {
		spec, r, c := &in.Specs[i], &rests[i], &next[i]
		seen := nextObserved(&observed, spec.PublicKey)
		unchanged := len(changed) == 0 || changed[0] != i
		if !unchanged {
			changed = changed[1:]
		}
		if unchanged && r.holds(at, p.allowance > 0, seen) && (same || sameSteps(spec, &t.input.Specs[i])) && !in.concerns(spec.PublicKey) &&
			!p.displaced(&c.Status) {
			continue
		}
		if in.Before == nil {
			*c = t.connections[i]
		}
		c.catchUp(r, t.readAt)
		t.pending.stepped = append(t.pending.stepped, i)
		t.pending.rests = append(t.pending.rests, t.stepOne(now, in, &p, spec, c, seen))
	}
	return next
}

// nextObserved returns what WireGuard shows of a peer, and leaves what it shows of those after it.
func nextObserved(observed *[]Observed, key mesh.Key) *Observed {
	left := *observed
	for len(left) > 0 && left[0].Key.Compare(key) < 0 {
		left = left[1:]
	}
	if *observed = left; len(left) > 0 && left[0].Key == key {
		return &left[0]
	}
	return &Observed{}
}

// lists returns the list of the next connections, and the rests of the present ones in its order. Those of peers
// that have joined are zero. Same is set if the specs are those of the last step where they have not changed.
func (t *Tracker) lists(in *Input) (next Connections, rests []rest, same bool) {
	if in.Before == nil {
		t.catchUpSpare()
		return t.spare, t.rests, isSame(in.Specs, t.input.Specs)
	}
	if t.spare != nil {
		t.buffer, t.spare = t.spare, nil
	}
	next, t.pending.moved = moved(t.buffer, t.connections, in), moved(t.restBuffer, t.rests, in)
	t.buffer, t.restBuffer = nil, nil
	return next, t.pending.moved, true
}

// moved returns a list of what peers have, without those that have left and with zeros for those that have joined.
// It uses the memory of a buffer, if that is large enough. The list is not nil, also where all have left.
func moved[T any](buffer, list []T, in *Input) []T {
	if buffer == nil || cap(buffer) < len(in.Specs) {
		buffer = make([]T, 0, len(in.Specs)+len(in.Specs)/64)
	}
	next := buffer[:len(in.Specs)]
	for _, i := range in.Joined {
		clear(next[i : i+1])
	}
	left, joined, from := in.Left, in.Joined, 0
	for at := 0; at < len(next); {
		switch {
		case len(joined) > 0 && joined[0] == at:
			at, joined = at+1, joined[1:]
			continue
		case len(left) > 0 && left[0] == from:
			from, left = from+1, left[1:]
			continue
		}
		to := len(list)
		if len(left) > 0 {
			to = left[0]
		}
		room := len(next)
		if len(joined) > 0 {
			room = joined[0]
		}
		n := copy(next[at:room], list[from:to])
		at, from = at+n, from+n
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
		at := InstantOf(readAt)
		c.Status.readAt, c.Status.LastUp = at, at
	}
}

// catchUpSpare makes the spare list that of the present connections.
func (t *Tracker) catchUpSpare() {
	if t.spare == nil {
		t.spare, t.buffer = slices.Grow(t.buffer[:0], len(t.connections))[:len(t.connections)], nil
		copy(t.spare, t.connections)
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
