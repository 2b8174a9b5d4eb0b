package relay

import (
	"bytes"
	"slices"
	"time"

	"github.com/spanmesh/span/relay/wireguard"
)

// goneAfter is how long a member's address is kept for it alone. A member's keepalives come every
// ten seconds.
const goneAfter = 30 * time.Second

// session is one of a member with the relay.
type session struct {
	*wireguard.Session
	member *member
	made   instant
	// to is where the response was sent.
	to Source
	// confirmed is set by the first data: the member has had the response. It was at to then, if
	// the data came from there.
	confirmed, proven bool
	// heard is when the last data came.
	heard instant
}

func (s *session) index() uint32 { return s.State().Local }

func (s *session) over(now instant) bool { return now-s.made >= wireguard.RejectAfterTime }

// register answers an initiation to the relay itself. It moves no address: data of the session does.
func (r *Router) register(from Source, initiation []byte) []Packet {
	if rate := float64(r.limits.Handshakes); !r.handshakes.take(r.now, 1, rate, rate) {
		if from.Stream == 0 && !r.cookies.Valid(r.clock(), initiation, from.Addr) {
			r.counts.Answered++
			return r.send(from, r.cookies.AppendReply(r.answer[:0], r.clock(), initiation, from.Addr))
		}
		// As WireGuard under load, but machines behind one address are many.
		if !r.handshakesOf.of(Network(from.Addr.Addr()), 0).take(r.now, 1, 20, 50) ||
			!r.loadedHandshakes.take(r.now, 1, 4*rate, rate) {
			return r.drop(OverRate)
		}
	}
	h, err := r.responder.Consume(initiation)
	if err != nil {
		return r.drop(NotAuthentic)
	}
	m := r.members[h.Peer]
	if m == nil {
		return r.drop(NotAdmitted)
	}
	if bytes.Compare(h.Timestamp[:], m.timestamp[:]) <= 0 {
		return r.drop(NotAuthentic)
	}
	response, s, err := h.Respond(r.newIndex(m.end))
	if err != nil {
		return r.drop(NotAuthentic)
	}
	m.timestamp = h.Timestamp
	r.keep(m, &session{Session: s, member: m, made: r.now, to: from})
	r.counts.Registrations++
	r.counts.Answered++
	return r.send(from, response)
}

// clock returns the time of the call.
func (r *Router) clock() time.Time { return r.made.Add(r.now) }

// keep adds a session, in place of one that was not confirmed.
func (r *Router) keep(m *member, s *session) {
	m.sessions = slices.DeleteFunc(m.sessions, func(old *session) bool {
		gone := !old.confirmed || old.over(r.now)
		if gone {
			delete(r.sessions, old.index())
		}
		return gone
	})
	m.sessions = append(m.sessions, s)
	r.sessions[s.index()] = s
}

// own takes data that is for the relay itself: its sender is a member, and is where it came from.
func (r *Router) own(s *session, from Source, data []byte) []Packet {
	if s.over(r.now) {
		return r.drop(UnknownReceiver)
	}
	if s.Open(data) != nil {
		return r.drop(NotAuthentic)
	}
	if !s.confirmed {
		s.confirmed, s.proven = true, s.to.id() == from.id()
		// Two are left: this one, and that before.
		for len(s.member.sessions) > 2 {
			delete(r.sessions, s.member.sessions[0].index())
			s.member.sessions = s.member.sessions[1:]
		}
	}
	s.heard = r.now
	if !r.locate(s, from) {
		return r.nudge(from, nil)
	}
	r.counts.Answered++
	return r.send(from, s.AppendKeepalive(r.answer[:0]))
}

// locate makes a member's end be where its data came from. It is refused if another is there, unless
// the member has shown by a handshake that packets to there reach it: addresses can be forged.
func (r *Router) locate(s *session, from Source) bool {
	m, id := s.member, from.id()
	e, there := m.end, r.at[id]
	if e != nil && there == e && e.source.id() == id {
		e.source = from
		return true
	}
	if there != nil && there != e {
		if proven := s.proven && s.to.id() == id; !proven && r.inUse(there) {
			return false
		}
		e = r.takePlace(m, there, id)
	}
	if e == nil {
		e = r.newEnd()
		e.member, m.end = m, e
	}
	if e.located && e.source.id() != id {
		r.counts.Moves++
		r.leaveFor(e, id)
	}
	e.source, e.located = from, true
	r.at[id] = e
	return true
}

// takePlace takes an address from the end that is there, for a member, and returns the member's end; nil if
// it has none yet.
func (r *Router) takePlace(m *member, there *end, id Source) *end {
	switch e := m.end; {
	case there.stream != 0 && there.stream == id.Stream:
		r.leaveStream(there)
	case there.member != nil:
		r.leavePlace(there)
	case e == nil:
		r.promote(there, m)
	default:
		r.absorb(e, there)
	}
	return m.end
}

// inUse reports whether what is at an end's address would miss its packets.
func (r *Router) inUse(e *end) bool {
	if e.member != nil {
		return slices.ContainsFunc(e.member.sessions, func(s *session) bool {
			return s.confirmed && r.now-s.heard < goneAfter
		})
	}
	for _, f := range e.flows {
		if f.answered && !f.over(r.now) {
			return true
		}
	}
	return false
}

// promote makes the end of an unregistered source a member's.
func (r *Router) promote(e *end, m *member) {
	r.uncount(e)
	for _, f := range slices.Clone(e.names) {
		f.leave()
	}
	for other := range e.pairs {
		other.strangers--
	}
	e.member, m.end = m, e
	r.separate(e)
}

// absorb gives a member what was opened from its new address before the relay knew whose it is.
func (r *Router) absorb(e, guest *end) {
	for other, p := range guest.pairs {
		if !reaches(e, other) {
			continue
		}
		flows := [2][]moved{r.flowsOf(p), r.flowsOf(other.pairs[guest])}
		r.unlink(guest, other)
		for _, f := range flows[0] {
			r.open(e, other, f.index, f.answered)
		}
		for _, f := range flows[1] {
			r.open(other, e, f.index, f.answered)
		}
	}
	r.forget(guest)
}

// moved is a flow that becomes another end's.
type moved struct {
	index    uint32
	answered bool
}

func (r *Router) flowsOf(p *pair) (flows []moved) {
	for _, g := range [2]*ring{&p.pending, &p.answered} {
		for _, i := range g.index[:g.used] {
			if f, ok := p.from.flows[i]; ok && f.pair == p && !f.over(r.now) {
				flows = append(flows, moved{i, f.answered})
			}
		}
	}
	return flows
}
