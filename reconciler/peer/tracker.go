package peer

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Tracker owns the connections to the peers of one mesh, and the last good endpoint of
// every machine that was a peer. It is for one goroutine. The zero value has no peers.
//
// A pass asks for the Next connections, applies what they ask for, and commits them. Until
// then the tracker is unchanged, so that a plan may be made and thrown away.
type Tracker struct {
	connections Connections
	// lastGood has the last good endpoints by key, also of peers that left.
	lastGood map[mesh.Key]netip.AddrPort
	// byNode has the same by node ID, for a peer with a new key.
	byNode map[string]netip.AddrPort

	// rests has the rest of each of connections; nil if that is not known. Those at rest lack the time of
	// the last reading, which is readAt.
	rests  []rest
	readAt time.Time
	// input is that of the last step.
	input Input
	// spare is the list before connections, which is as long and differs at the indexes of changed;
	// nil for none. All that are not at rest are among changed.
	spare   Connections
	changed []int
	// buffer and restBuffer are lists of which only the memory is used again; nil for none.
	buffer     Connections
	restBuffer []rest
	// pending is what the last Next has stepped.
	pending pending
}

// pending is what Next has stepped.
type pending struct {
	// open is set until it is committed.
	open bool
	// stepped are the indexes of the connections that were stepped; all is set if these are all. Rests are
	// theirs.
	stepped []int
	all     bool
	rests   []rest
	// moved has the rests of all in the order of next where peers have joined or left; nil otherwise.
	moved []rest
	input Input
	now   time.Time
	next  Connections
}

// Input is what the next connections depend on, besides the present ones.
type Input struct {
	// Self is this machine's public key.
	Self mesh.Key
	// Links are this machine's links. They rank the candidates.
	Links []mesh.Link
	// Specs are the peers, sorted by key.
	Specs []mesh.PeerSpec
	// Changed are the indexes of those that have changed in the list of the last step, of which Specs may be a
	// copy, or joined.
	Changed []int
	// Before is the list of the last step where Specs is that without the peers at the indexes Left, and with
	// others at the indexes Joined of Specs. It is nil otherwise.
	Before       []mesh.PeerSpec
	Left, Joined []int
	// Observed is what WireGuard shows, sorted by key.
	Observed []Observed
	// NetworkChanged is Spec.NetworkChanged for all peers.
	NetworkChanged bool
	// AlwaysInitiate makes this machine the initiator for all peers.
	AlwaysInitiate bool
	// KeepalivesOff is Spec.LeaveAtRest for all peers.
	KeepalivesOff bool
	// Contested are the peers that have a prefix which another peer claims, too.
	Contested map[mesh.Key]bool
	// ProbeNow are the peers whose prefixes another peer has just begun to claim.
	ProbeNow map[mesh.Key]bool
	// Filtered are the peers to whom this machine's firewall lets no probe out.
	Filtered map[mesh.Key]bool
	// Relays are the blind relays that this machine knows, and Registered those with which it is
	// registered.
	Relays     []mesh.BlindRelay
	Registered []BlindRelay
	// Paths are the direct paths that probes have shown, sorted by key, and Probing is set while they
	// are looked for.
	Paths   []mesh.Path
	Probing bool
}

// Connections returns the connections that were committed last. They must not be changed. The times
// LastUp of those at rest may be of an earlier reading.
func (t *Tracker) Connections() Connections { return t.connections }

// Next returns the next connection to each peer of in.Specs, in their order. The list of the Next before
// the last committed one is used again.
func (t *Tracker) Next(now time.Time, in Input) Connections {
	all := !t.keepsRest(now, &in)
	t.pending = pending{open: true, all: all, now: now, input: in, stepped: t.pending.stepped[:0], rests: t.pending.rests[:0]}
	if all {
		t.pending.next = t.nextAll(now, &in)
	} else {
		t.pending.next = t.nextChanged(now, &in)
	}
	return t.pending.next
}

// nextAll is Next that steps all peers.
func (t *Tracker) nextAll(now time.Time, in *Input) Connections {
	next := make(Connections, len(in.Specs))
	t.spare = nil
	before, rests, observed := t.connections, t.rests, in.Observed
	var lastRead time.Time
	if len(before) > 0 {
		first := before[0]
		if rests != nil {
			first.catchUp(&rests[0], t.readAt)
		}
		lastRead = first.Status.readAt.Time()
	}
	waiting := 0
	for i := range before {
		waiting += before[i].guessed()
	}
	p := newPace(now, lastRead, occupants(before), newGuesses(now, waiting), len(in.Specs))
	at := 0
	for i := range in.Specs {
		spec, c := &in.Specs[i], &next[i]
		for at < len(before) && before[at].Key.Compare(spec.PublicKey) < 0 {
			at++
		}
		if at < len(before) && before[at].Key == spec.PublicKey {
			*c = before[at]
			if rests != nil {
				c.catchUp(&rests[at], t.readAt)
			}
		}
		seen := nextObserved(&observed, spec.PublicKey)
		t.pending.stepped = append(t.pending.stepped, i)
		t.pending.rests = append(t.pending.rests, t.stepOne(now, in, &p, spec, c, seen))
	}
	return next
}

// step moves a connection on from its status of the last pass.
func (c *Connection) step(now time.Time, in *Input, p *pace, spec *mesh.PeerSpec, seen Observed) {
	leaves := c.leavesRelay(in, spec)
	ready := c.list(now, in, spec, !leaves && seen.Endpoint == c.Status.Endpoint)
	if c.withoutAgent = spec.WithoutAgent; c.withoutAgent && !c.IsUp() && !p.guesses.take() {
		c.Candidates = in.ranked(c.LastGood, spec)
	}
	wasUp, at := c.IsUp(), c.Status.Endpoint
	c.passage.observe(&seen)
	initiator := in.Self.Compare(spec.PublicKey) < 0
	c.Status, c.Action = Step(now, Spec{
		Endpoints:      c.Candidates,
		Ready:          ready,
		Leave:          leaves,
		Addresses:      spec.Addresses,
		Listed:         spec.Endpoints,
		Initiator:      in.AlwaysInitiate || initiator,
		NetworkChanged: in.NetworkChanged,
		LeaveAtRest:    in.KeepalivesOff,
		IdleAfter:      p.idleAfter(initiator),
		MeasureAfter:   p.measureAfter,
		MayProbeIdle:   p.allowance > 0,
		Contested:      in.Contested[spec.PublicKey],
		ProbeNow:       in.ProbeNow[spec.PublicKey],
		Displaced:      p.displaced(&c.Status),
		Relayed:        c.Relayed(),
		Filtered:       in.Filtered[spec.PublicKey],
	}, c.Status, seen)
	if c.Action.Probe || c.Action.Measure {
		p.allowance--
	}
	c.Relay = mesh.Key{} // AssignRelays decides anew
	if initiator && slices.Contains(c.Candidates[:ready], c.Action.Endpoint) {
		c.hasten(&seen)
	}
	if wasUp && !c.Status.isUp(now) && at.IsValid() && at == c.path().Endpoint {
		c.bar(now, at)
	}
	c.follow(now, in, spec)
	c.renew(now, in, spec, &seen)
	c.noteEndpoint(in, spec)
}

// list lists the candidates for the peer's endpoint, and returns how many of them, the first, are known
// to carry packets. A peer that is up where it was needs no others.
func (c *Connection) list(now time.Time, in *Input, spec *mesh.PeerSpec, there bool) (ready int) {
	if there && c.IsUp() && c.Status.isUp(now) {
		c.Candidates = spec.Endpoints
		return 0
	}
	c.Candidates, ready = in.candidates(c.LastGood, spec, c.pathIn(now, in))
	return min(ready, len(c.Candidates))
}

// noteEndpoint notes whose the endpoint in use is.
func (c *Connection) noteEndpoint(in *Input, spec *mesh.PeerSpec) {
	at := c.Status.Endpoint
	if c.BlindRelay = in.relayAt(spec, at); c.BlindRelay.IsZero() && at == c.shuns().former.at {
		c.BlindRelay = c.shuns().former.key
	}
	if c.IsUp() && at.IsValid() && c.BlindRelay.IsZero() && !in.isOfRelay(spec, at) {
		c.LastGood = at
	}
}

// recall returns the last good endpoint of a peer without a connection: under its key, or
// else under the key that the machine had before.
func (t *Tracker) recall(spec *mesh.PeerSpec) netip.AddrPort {
	if endpoint, known := t.lastGood[spec.PublicKey]; known {
		return endpoint
	}
	return t.byNode[spec.NodeID]
}

// Transition is a change of a peer's state, relay or last good endpoint. Before is nil for a new
// peer.
type Transition struct {
	Before, After *Connection
}

// Moved reports whether the peer is reached at another endpoint than before.
func (t Transition) Moved() bool {
	return t.Before != nil && t.Before.LastGood.IsValid() && t.After.LastGood.IsValid() && t.Before.LastGood != t.After.LastGood
}

// Commit makes next the present connections: what the last Next has returned, or none. A peer in notDone, whose
// change did not reach WireGuard, keeps its present status, so that the next pass decides again. Commit
// returns the peers whose state, relay or last good endpoint changed, and reports whether LastGood did.
func (t *Tracker) Commit(next Connections, notDone map[mesh.Key]bool) (transitions []Transition, lastGood bool) {
	failed := len(notDone) > 0
	if !t.pending.open || !isSame(next, t.pending.next) {
		t.rests, t.spare, t.pending = nil, nil, pending{}
	}
	if failed {
		t.wake(next)
	}
	hint := 0
	for at := range next {
		i := at
		if !failed {
			if at >= len(t.pending.stepped) {
				break
			}
			i = t.pending.stepped[at]
		}
		after := &next[i]
		var before *Connection
		if !t.pending.all {
			hint = i
		}
		if j, found := t.connections.find(after.Key, hint); found {
			before, hint = &t.connections[j], j+1
		}
		differs, good := t.commit(before, after, notDone[after.Key])
		if differs {
			transitions = append(transitions, Transition{before, after})
		}
		lastGood = lastGood || good
	}
	t.adopt(next, failed)
	return transitions, t.forget() || lastGood
}

// commit makes after the present connection, and reports whether it is another one in something that
// matters, and has another last good endpoint.
func (t *Tracker) commit(before, after *Connection, notDone bool) (differs, lastGood bool) {
	switch {
	case notDone && before != nil:
		after.Status = before.Status
	case notDone:
		after.Status = Status{}
	}
	if before == nil || before.LastGood != after.LastGood || before.NodeID != after.NodeID {
		lastGood = t.remember(after)
	}
	return before == nil || before.differs(after), lastGood
}

// differs reports whether the peer's state, relay or last good endpoint is another one after a pass.
func (c *Connection) differs(after *Connection) bool {
	return c.Status.State != after.Status.State || c.Relay != after.Relay || c.IsBlind() != after.IsBlind() ||
		c.BlindRelay != after.BlindRelay || c.LastGood != after.LastGood
}

// adopt makes next the present connections. Failed is set if some of them are as before.
func (t *Tracker) adopt(next Connections, failed bool) {
	before := t.connections
	t.connections, t.input, t.readAt = next, t.pending.input, t.pending.now
	t.input.Observed, t.input.Changed, t.input.Before, t.input.Left, t.input.Joined = nil, nil, nil, nil, nil
	t.pending.open = false
	switch {
	case failed:
		t.rests, t.spare = nil, nil
		return
	case t.pending.all:
		t.rests, t.spare = slices.Clone(t.pending.rests), nil
	default:
		if t.spare = before; t.pending.moved != nil {
			t.restBuffer, t.rests = t.rests, t.pending.moved
			t.buffer, t.spare = before, nil
		}
		for at, i := range t.pending.stepped {
			t.rests[i] = t.pending.rests[at]
		}
	}
	t.changed = append(t.changed[:0], t.pending.stepped...)
}

// wake gives the connections at rest of both lists the times of their readings.
func (t *Tracker) wake(next Connections) {
	rests := t.rests
	if rests == nil {
		return
	}
	for i := range t.connections {
		t.connections[i].catchUp(&rests[i], t.readAt)
	}
	if t.pending.all {
		return // those of next were stepped
	}
	if t.pending.moved != nil {
		rests = t.pending.moved
	}
	for _, i := range t.pending.stepped {
		rests[i] = rest{}
	}
	for i := range next {
		next[i].catchUp(&rests[i], t.pending.now)
	}
}

// remember keeps the last good endpoint of a connection and reports whether it is new.
func (t *Tracker) remember(c *Connection) bool {
	if !c.LastGood.IsValid() {
		return false
	}
	if t.lastGood == nil {
		t.lastGood = map[mesh.Key]netip.AddrPort{}
	}
	if t.byNode == nil {
		t.byNode = map[string]netip.AddrPort{}
	}
	t.byNode[c.NodeID] = c.LastGood
	if t.lastGood[c.Key] == c.LastGood {
		return false
	}
	t.lastGood[c.Key] = c.LastGood
	return true
}

// maxDeparted is how many peers that left are remembered beyond the number of present ones.
const maxDeparted = 64

// forget drops the machines that left, once there are many, and reports whether it did. It
// keeps them while there are no peers: the mesh may only be disabled for now.
func (t *Tracker) forget() bool {
	if len(t.connections) == 0 || len(t.lastGood) <= 2*len(t.connections)+maxDeparted {
		return false
	}
	clear(t.lastGood)
	clear(t.byNode)
	for i := range t.connections {
		t.remember(&t.connections[i])
	}
	return true
}

// Shift moves all times after the machine's clock was stepped by some time.
func (t *Tracker) Shift(by time.Duration) {
	if by == 0 {
		return
	}
	for i := range t.connections {
		c := &t.connections[i]
		if t.rests != nil {
			c.catchUp(&t.rests[i], t.readAt)
		}
		c.Status = c.Status.Shift(by)
		s := c.shuns()
		s.barredUntil.shift(by)
		c.shun(s)
		c.passage.shift(by)
	}
	t.rests, t.spare = nil, nil
}

// LastGood returns a copy of the last good endpoints by key.
func (t *Tracker) LastGood() map[mesh.Key]netip.AddrPort { return maps.Clone(t.lastGood) }

// Restore adds the last good endpoints of an earlier process. They are tried early.
func (t *Tracker) Restore(lastGood map[mesh.Key]netip.AddrPort) {
	if t.lastGood == nil {
		t.lastGood = make(map[mesh.Key]netip.AddrPort, len(lastGood))
	}
	maps.Copy(t.lastGood, lastGood)
}
