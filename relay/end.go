package relay

import (
	"time"

	"github.com/spanmesh/span/relay/wireguard"
)

// How long a flow is kept: that of an initiation until the response, that of a session a little
// longer than WireGuard keeps the session.
const (
	pendingFor = 10 * time.Second
	sessionFor = 240 * time.Second
)

// end is where packets come from and go to. When a member gets another address, its end stays, with
// all that goes to it.
type end struct {
	// member is nil for a source that is no member's.
	member *member
	// names are the machines without an agent that this end is known to be: one, in the clusters
	// whose members have said so.
	names []*foreign
	// source is where the end is, if located.
	source  Source
	located bool
	// stream is one that a member has left for UDP and that is still open: what is on its way there is
	// the member's as well. It is 0 for none.
	stream uint64
	// flows are by the receiver index of the packets that this end sends.
	flows map[uint32]flow
	// pairs are by the other end, and in the order of their last handshake.
	pairs          map[*end]*pair
	oldest, newest *pair
	// strangers are the pairs with ends that are no member's.
	strangers int

	bytes, scans, checks meter
	// place is the index in the router's ends.
	place int
}

// flow is where packets go that an end sends with an index.
type flow struct {
	pair *pair
	// until is in seconds, as flows are many.
	until uint32
	// answered is set when a response was seen.
	answered bool
}

func (f flow) over(now instant) bool { return instant(f.until)*time.Second <= now }

// pair is what one end sends another.
type pair struct {
	from, to *end
	// pending and answered are the indices of the last flows. A further one replaces the first.
	pending, answered ring
	older, newer      *pair
}

// ring has the last four indices.
type ring struct {
	index      [4]uint32
	used, next uint8
}

// add returns the index that it replaces, if it replaces one.
func (g *ring) add(index uint32) (replaced uint32, full bool) {
	replaced, full = g.index[g.next], g.used == uint8(len(g.index))
	g.index[g.next] = index
	g.next = (g.next + 1) % uint8(len(g.index))
	if !full {
		g.used++
	}
	return replaced, full
}

func (r *Router) newEnd() *end {
	e := &end{flows: map[uint32]flow{}, pairs: map[*end]*pair{}, place: len(r.ends)}
	r.ends = append(r.ends, e)
	return e
}

// reaches reports whether packets may go between two ends.
func reaches(a, b *end) bool {
	switch {
	case a == b:
		return false
	case a.member != nil && b.member != nil:
		return a.member.shares(b.member)
	case a.member == nil && b.member == nil:
		return false
	case a.member == nil:
		a, b = b, a
	}
	// Whoever knows a member's key may write to it. Who has a name may do so in its clusters.
	if len(b.names) == 0 {
		return true
	}
	for _, f := range b.names {
		if _, in := a.member.until[f.cluster]; in {
			return true
		}
	}
	return false
}

// link returns the pair of what from sends to, and makes both directions if there is none.
func (r *Router) link(from, to *end) *pair {
	if p := from.pairs[to]; p != nil {
		return p
	}
	for _, p := range [2]*pair{{from: from, to: to}, {from: to, to: from}} {
		p.from.pairs[p.to] = p
		if p.to.member == nil {
			p.from.strangers++
		}
		p.last()
	}
	return from.pairs[to]
}

// last makes a pair that with the last handshake.
func (p *pair) last() {
	p.detach()
	e := p.from
	p.older = e.newest
	if e.newest != nil {
		e.newest.newer = p
	}
	e.newest = p
	if e.oldest == nil {
		e.oldest = p
	}
}

func (p *pair) detach() {
	e := p.from
	if p.older != nil {
		p.older.newer = p.newer
	} else if e.oldest == p {
		e.oldest = p.newer
	}
	if p.newer != nil {
		p.newer.older = p.older
	} else if e.newest == p {
		e.newest = p.older
	}
	p.older, p.newer = nil, nil
}

// unlink forgets both directions between two ends.
func (r *Router) unlink(a, b *end) {
	for _, p := range [2]*pair{a.pairs[b], b.pairs[a]} {
		if p == nil {
			continue
		}
		for _, g := range [2]*ring{&p.pending, &p.answered} {
			for _, i := range g.index[:g.used] {
				r.closeFlow(p, i)
			}
		}
		if p.to.member == nil {
			p.from.strangers--
		}
		p.detach()
		delete(p.from.pairs, p.to)
	}
}

// closeFlow forgets a flow of a pair.
func (r *Router) closeFlow(p *pair, index uint32) {
	if f, ok := p.from.flows[index]; ok && f.pair == p {
		delete(p.from.flows, index)
		r.counts.Flows--
	}
}

// open lets what from sends with an index go to another end.
func (r *Router) open(from, to *end, index uint32, answered bool) (reason Reason, ok bool) {
	known, exists := from.flows[index]
	if r.clashes(known, exists, to, answered) {
		return Clash, false
	}
	if s := r.sessions[index]; s != nil && s.member == from.member {
		return Clash, false
	}
	if !exists && !r.room(from, to) {
		return TableFull, false
	}
	if exists && known.pair.to != to {
		r.closeFlow(known.pair, index)
		exists = false
	}
	p := r.link(from, to)
	life, g := pendingFor, &p.pending
	if answered {
		life, g = sessionFor, &p.answered
	}
	if !exists {
		r.counts.Flows++
	}
	from.flows[index] = flow{p, uint32((r.now + life + time.Second - 1) / time.Second), answered}
	if !exists || known.answered != answered {
		r.replace(p, g, index, answered)
	}
	return 0, true
}

// clashes reports whether an index has another use: for another end, or for a session that an
// initiation would end.
func (r *Router) clashes(known flow, exists bool, to *end, answered bool) bool {
	if !exists {
		return false
	}
	if known.pair.to != to {
		return !known.over(r.now)
	}
	return known.answered && !answered
}

// replace adds an index to a ring, and ends the flow of that which it replaces.
func (r *Router) replace(p *pair, g *ring, index uint32, answered bool) {
	old, full := g.add(index)
	if !full || old == index {
		return
	}
	if f, ok := p.from.flows[old]; ok && f.answered == answered {
		r.closeFlow(p, old)
	}
}

// fewFlows are what a source may have when most of the table is taken by others.
const fewFlows = 64

// room reports whether another flow may be made.
func (r *Router) room(from, to *end) bool {
	if len(from.flows) >= r.limits.FlowsPerSource || r.counts.Flows >= r.limits.Flows {
		return false
	}
	if len(from.flows) >= fewFlows && r.counts.Flows >= r.limits.Flows/4*3 {
		return false
	}
	// Strangers cannot take a member's table: a pair has eight flows at most, so half of it. Half of that
	// is for those that have completed a handshake.
	strangers := max(1, r.limits.FlowsPerSource/32)
	if to.member == nil && r.completed[Network(to.source.Addr.Addr())] > r.now {
		strangers = max(2, r.limits.FlowsPerSource/16)
	}
	return from.pairs[to] != nil || from.member == nil || to.member != nil || from.strangers < strangers
}

// guest returns an end for a source that is no member's; nil if there is no room. A quarter of it is for
// networks that have completed a handshake.
func (r *Router) guest(from Source) *end {
	n := Network(from.Addr.Addr())
	room := r.limits.Unregistered
	if r.completed[n] <= r.now {
		room -= room / 4
	}
	if r.allGuests >= room || r.guests[n] >= r.limits.UnregisteredPerAddress {
		return nil
	}
	r.guests[n]++
	r.allGuests++
	e := r.newEnd()
	e.source, e.located = from, true
	r.at[from.id()] = e
	return e
}

// uncount removes an end from the counts of unregistered sources.
func (r *Router) uncount(e *end) {
	if e.member != nil {
		return
	}
	n := Network(e.source.Addr.Addr())
	r.allGuests--
	if r.guests[n]--; r.guests[n] <= 0 {
		delete(r.guests, n)
	}
}

// forget ends an end.
func (r *Router) forget(e *end) {
	for other := range e.pairs {
		r.unlink(e, other)
	}
	for _, f := range e.names {
		f.end = nil
	}
	e.names = nil
	r.uncount(e)
	r.leavePlace(e)
	r.leaveStream(e)
	last := r.ends[len(r.ends)-1]
	r.ends[e.place], last.place = last, e.place
	r.ends = r.ends[:len(r.ends)-1]
	if e.member != nil {
		e.member.end = nil
	}
}

// leavePlace removes an end's address.
func (r *Router) leavePlace(e *end) {
	if e.located && r.at[e.source.id()] == e {
		delete(r.at, e.source.id())
	}
	e.located = false
}

// leaveStream forgets the stream that an end was at before.
func (r *Router) leaveStream(e *end) {
	if id := (Source{Stream: e.stream}); e.stream != 0 && r.at[id] == e {
		delete(r.at, id)
	}
	e.stream = 0
}

// leaveFor has an end leave its address for another. A stream stays its own as well while it is open.
func (r *Router) leaveFor(e *end, id Source) {
	r.leaveStream(e)
	if e.source.Stream != 0 && id.Stream == 0 {
		e.stream, e.located = e.source.Stream, false
		return
	}
	r.leavePlace(e)
}

// marks reports whether a handshake message is for an end.
func (e *end) marks(message []byte) bool {
	if e.member != nil {
		return e.member.mac.Marks(message)
	}
	return len(e.names) > 0 && e.names[0].mac.Marks(message)
}

// cookieReply sends a cookie to where the initiation came from.
func (r *Router) cookieReply(sender *end, packet []byte) []Packet {
	if sender == nil {
		return r.drop(UnknownSender)
	}
	f, ok := sender.flows[wireguard.Receiver(packet)]
	if !ok || f.over(r.now) {
		return r.drop(UnknownReceiver)
	}
	return r.forward(sender, f.pair.to, packet)
}
