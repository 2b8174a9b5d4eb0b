package relay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/relay/wireguard"
)

// lastCorrespondents are how many pairs are tried first, from both sides: those with the last
// handshakes try again, those with the first are the next whose session ends.
const lastCorrespondents = 4

// initiation sends a first message to the member that its mac1 names.
func (r *Router) initiation(from Source, sender *end, packet []byte) []Packet {
	if r.mac.Marks(packet) {
		return r.register(from, packet)
	}
	to, reason := r.receiver(from, sender, packet)
	if to == nil {
		return r.drop(reason)
	}
	if !to.located {
		return r.drop(NotAddressed)
	}
	stranger := sender == nil
	if stranger {
		if sender = r.guest(from); sender == nil {
			return r.drop(TableFull)
		}
	}
	if reason, ok := r.open(to, sender, wireguard.Sender(packet), false); !ok {
		if stranger {
			r.forget(sender)
		}
		return r.drop(reason)
	}
	return r.forward(sender, to, packet)
}

// receiver finds whom an initiation is for.
func (r *Router) receiver(from Source, sender *end, packet []byte) (*end, Reason) {
	if sender != nil {
		if to := sender.correspondent(packet); to != nil {
			return to, 0
		}
	}
	if sender == nil || sender.member == nil {
		return r.scanAll(from, sender, packet)
	}
	if !r.takeScan(sender) {
		return nil, OverRate
	}
	r.counts.Scans++
	for c := range sender.member.until {
		for _, m := range c.members {
			if m != sender.member && m.mac.Marks(packet) {
				return located(m)
			}
		}
		for _, f := range c.foreign {
			if f.end != nil && f.mac.Marks(packet) {
				return f.end, 0
			}
		}
	}
	return nil, UnknownReceiver
}

// takeScan takes a look through all keys of its clusters from what a member may do, and from what all
// at its address and all others may.
func (r *Router) takeScan(sender *end) bool {
	rate, keys := float64(r.limits.ScansPerSecond), 0
	for c := range sender.member.until {
		keys += len(c.members) + len(c.foreign)
	}
	if !sender.scans.take(r.now, 1, rate, 20*rate) {
		return false
	}
	own, all := float64(r.limits.MemberTrialsPerAddress), float64(r.limits.MemberTrials)
	return r.trialsOf.of(sender.member.from, 0).take(r.now, min(own, float64(keys)), own, 4*own) &&
		r.memberTrials.take(r.now, min(all, float64(keys)), all, 2*all)
}

// scanAll finds a member for a source that is no member's, and so is in no cluster.
func (r *Router) scanAll(from Source, sender *end, packet []byte) (*end, Reason) {
	if !r.takeStrangersScan(Network(from.Addr.Addr())) {
		return nil, OverRate
	}
	r.counts.Scans++
	for _, m := range r.members {
		if m.mac.Marks(packet) {
			if m.end != nil && sender != nil && !reaches(sender, m.end) {
				return nil, UnknownReceiver
			}
			return located(m)
		}
	}
	return nil, UnknownReceiver
}

// takeStrangersScan takes a look through all keys from what a network of no member may do. Half of all is
// for networks that have completed a handshake, so that others do not keep them out by initiations with
// forged addresses; of the other half, no network takes more than an eighth for long.
func (r *Router) takeStrangersScan(n netip.Addr) bool {
	rate, keys := float64(r.limits.UnregisteredScansPerSecond), float64(len(r.members)+1)
	if !r.scansOf.of(n, 0).take(r.now, 1, rate, 4*rate) {
		return false
	}
	half := float64(r.limits.UnregisteredTrials) / 2
	if r.completed[n] > r.now {
		return r.knownTrials.take(r.now, min(half, keys), half, half)
	}
	share, burst := half/8, half/2
	return r.strangersOf.of(n, 0).take(r.now, min(burst, keys), share, burst) && r.trials.take(r.now, min(half, keys), half, half)
}

// completedFor is how long a network is known to have completed a handshake.
const completedFor = time.Hour

// complete notes that a member has answered a source that is no member's, which members do only for whom
// they know.
func (r *Router) complete(n netip.Addr) {
	if _, known := r.completed[n]; !known && len(r.completed) >= r.limits.Unregistered {
		for other := range r.completed {
			delete(r.completed, other)
			break
		}
	}
	r.completed[n] = r.now + completedFor
}

func located(m *member) (*end, Reason) {
	if m.end == nil {
		return nil, NotAddressed
	}
	return m.end, 0
}

// correspondent finds whom an initiation is for among those that the sender had handshakes with.
func (e *end) correspondent(packet []byte) *end {
	oldest, newest := e.oldest, e.newest
	for range lastCorrespondents {
		if newest == nil {
			return nil
		}
		if newest.to.marks(packet) {
			return newest.to
		}
		if oldest == newest {
			return nil
		}
		if oldest.to.marks(packet) {
			return oldest.to
		}
		if oldest.newer == newest {
			return nil
		}
		oldest, newest = oldest.newer, newest.older
	}
	return nil
}

// response sends a second message to where the first came from.
func (r *Router) response(sender *end, packet []byte) []Packet {
	if sender == nil {
		return r.drop(UnknownSender)
	}
	index := wireguard.Answered(packet)
	f, ok := sender.flows[index]
	if !ok || f.over(r.now) {
		return r.drop(UnknownReceiver)
	}
	to := f.pair.to
	if to.member != nil && !to.marks(packet) {
		return r.drop(NotAuthentic)
	}
	if reason, ok := r.open(to, sender, wireguard.Sender(packet), true); !ok {
		return r.drop(reason)
	}
	if reason, ok := r.open(sender, to, index, true); !ok {
		return r.drop(reason)
	}
	if to.member == nil {
		r.complete(Network(to.source.Addr.Addr()))
		r.learn(sender, to, packet)
	}
	sender.pairs[to].last()
	to.pairs[sender].last()
	return r.forward(sender, to, packet)
}

// learn finds which machine without an agent a member has answered.
func (r *Router) learn(sender, to *end, response []byte) {
	if sender.member == nil || to.marks(response) || !r.takeScan(sender) {
		return
	}
	for c := range sender.member.until {
		for _, f := range c.foreign {
			if r.members[f.key] != nil || !f.mac.Marks(response) {
				continue
			}
			if len(to.names) > 0 && to.names[0].key != f.key {
				// Another machine has got the address.
				for _, old := range slices.Clone(to.names) {
					old.leave()
				}
			}
			f.leave()
			f.end = to
			to.names = append(to.names, f)
			break
		}
	}
}

// data sends a packet of a session to the session's other end.
func (r *Router) data(from Source, sender *end, packet []byte) []Packet {
	index := wireguard.Receiver(packet)
	if sender != nil {
		if f, ok := sender.flows[index]; ok && f.answered && !f.over(r.now) {
			return r.forward(sender, f.pair.to, packet)
		}
	}
	if s := r.sessions[index]; s != nil {
		return r.own(s, from, packet)
	}
	return r.nudge(from, sender)
}
