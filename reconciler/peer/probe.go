package peer

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Probe is data that is to be sent to a peer through the tunnel.
type Probe struct {
	// Peer is the peer's public key.
	Peer mesh.Key
	// Address is an address of the peer inside the tunnel.
	Address netip.Addr
	// EchoOnly is set when only an echo is of use: its answer is what is asked for.
	EchoOnly bool
}

// FilteredError is the error of a probe that this machine's own firewall has dropped.
type FilteredError struct {
	// Peer is the peer's public key.
	Peer mesh.Key
	Err  error
}

func (e *FilteredError) Error() string { return e.Err.Error() }

func (e *FilteredError) Unwrap() error { return e.Err }

// FilteredIn returns the peers of all errors of type FilteredError in the error of several probes.
func FilteredIn(err error) (peers []mesh.Key) {
	switch e := err.(type) { //nolint:errorlint // the tree is walked
	case *FilteredError:
		return []mesh.Key{e.Peer}
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			peers = append(peers, FilteredIn(one)...)
		}
	case interface{ Unwrap() error }:
		return FilteredIn(e.Unwrap())
	}
	return peers
}

// Reply is a peer's answer to an echo.
type Reply struct {
	// Peer is the peer's public key.
	Peer mesh.Key
	// RTT is the round-trip time; zero if the clock was set meanwhile.
	RTT time.Duration
}

// probing is a series of liveness probes without an answer. The zero value is none.
type probing struct {
	// since is when the first probe was sent.
	since Instant
	// timeout is how long after since the answer may come.
	timeout time.Duration
	// sent counts the probes.
	sent int
	// byEcho is set when the peer has to answer an echo. Otherwise its WireGuard has to
	// answer data.
	byEcho bool
}

func (p *probing) active() bool { return !p.since.IsZero() }

// deadline returns the time by which a probe must be answered.
func (p *probing) deadline() time.Time { return p.since.Time().Add(p.timeout) }

// overdue reports whether enough probes had their time without an answer.
func (p *probing) overdue(now time.Time) bool {
	return p.active() && !now.Before(p.deadline()) && (!p.byEcho || p.sent >= minEchoes)
}

// interval returns the pause before the next probe.
func (p *probing) interval() time.Duration {
	switch {
	case !p.byEcho:
		return probeInterval
	case p.sent <= 1 && p.timeout == echoTimeout:
		return echoInterval
	default:
		return echoRetryInterval
	}
}

// trusted reports whether silence after an echo shows that the peer is not reachable. The
// peer must answer echoes, and its session must not have expired: WireGuard would have to
// make another first.
func (s *Status) trusted(now time.Time) bool {
	return s.echoes && !now.Before(s.distrustedUntil.Time()) && now.Sub(s.LastHandshake) < RejectAfterTime
}

// startProbing begins a series of probes. The timeout is for a peer that is trusted to
// answer echoes.
func (s *Status) startProbing(now time.Time, timeout time.Duration) {
	s.probing = probing{since: InstantOf(now), timeout: timeout, byEcho: true}
	if !s.trusted(now) {
		s.probing.timeout, s.probing.byEcho = probeTimeout, false
	}
}

// probe returns what to send to a peer that is up, and notes that it is sent.
func (s *Status) probe(now time.Time, before *Status, spec *Spec) (do Action) {
	switch relisted := len(before.listed) > 0 && !slices.Equal(before.listed, spec.Listed); {
	case s.addressWithdrawn(before, spec):
		s.probing = probing{since: InstantOf(now), timeout: withdrawnTimeout, byEcho: s.trusted(now)}
	case spec.ProbeNow:
		s.probeContested(now)
	case spec.NetworkChanged:
		s.startProbing(now, echoTimeout)
	case s.probing.active():
		if s.lastProbe.age(now) < s.probing.interval() {
			return Action{}
		}
	case relisted || s.probeDue(now, spec):
		s.startProbing(now, echoTimeout)
	case s.measureDue(now, spec):
		s.measured++
		s.lastProbe = InstantOf(now)
		return Action{Measure: true}
	default:
		return Action{}
	}
	s.probing.sent++
	s.lastProbe = InstantOf(now)
	return Action{Probe: true}
}

// probeContested probes a peer whose addresses another one claims. A series that has begun ends no
// later than it would have.
func (s *Status) probeContested(now time.Time) {
	if !s.probing.active() {
		s.startProbing(now, contestedTimeout)
		return
	}
	if s.probing.byEcho {
		s.probing.timeout = min(s.probing.timeout, s.probing.since.age(now)+contestedTimeout)
	}
}

// probeDue reports whether a peer has been silent for so long that it is probed.
func (s *Status) probeDue(now time.Time, spec *Spec) bool {
	silent := s.lastReceived.age(now)
	if !s.trusted(now) {
		return silent >= probeAfter && (!spec.LeaveAtRest || s.unanswered(now) >= keepaliveTimeout)
	}
	switch {
	case s.unanswered(now) >= unansweredAfter, s.Contact.Calls > 1:
		return true
	case spec.Contested:
		return silent >= contestedAfter
	case spec.LeaveAtRest || !spec.MayProbeIdle:
		return false
	default:
		return spec.IdleAfter > 0 && silent >= spec.IdleAfter
	}
}

// unanswered returns how long ago something was sent after which nothing was received; zero
// if there is nothing.
func (s *Status) unanswered(now time.Time) time.Duration {
	if s.unansweredSince.IsZero() {
		return 0
	}
	return s.unansweredSince.age(now)
}

// measureDue reports whether it is time for an echo that measures the round-trip time, and
// shows whether the peer answers echoes.
func (s *Status) measureDue(now time.Time, spec *Spec) bool {
	if spec.MeasureAfter == 0 || !spec.MayProbeIdle || spec.LeaveAtRest && s.lastReceived.age(now) >= unansweredAfter {
		return false
	}
	return s.lastProbe.age(now) >= s.measureWait(now, spec.MeasureAfter)
}

// measureWait returns the pause after an echo before the next.
func (s *Status) measureWait(now time.Time, measureAfter time.Duration) time.Duration {
	wait := measureAfter
	if _, known := s.Loss(now); known && (s.Echoes.open || s.Echoes.recent() >= lossEnds) {
		wait = min(wait, lossyInterval) // so that it is soon known when the loss begins and ends
	}
	if !s.echoes && s.measured < firstEchoes {
		wait = firstEchoInterval
	}
	return wait
}

// takeReply notes a peer's answer to an echo. That the peer is up is seen from the bytes
// that were received.
func (s *Status) takeReply(seen *Observed) {
	if !seen.Replied {
		return
	}
	s.echoes, s.measured = true, 0
	s.Echoes.noteAnswer()
	if s.RTT.plausible(seen.RTT, !s.readAt.Time().Add(-seen.RTT).After(s.LastHandshake)) {
		s.RTT.add(seen.RTT)
	}
}

// resumeProbing starts a series again that was interrupted: the machine was suspended, its
// clock was set, or the agent did not run. The probes may never have been sent.
func (s *Status) resumeProbing(now time.Time) {
	if s.State == Up && s.probing.active() && s.lastProbe.age(now) >= maxProbeGap {
		s.probing.since, s.probing.sent = InstantOf(now), 0
	}
}

// addressWithdrawn reports whether the peer listed the address in use at the last step
// and no longer does.
func (s *Status) addressWithdrawn(before *Status, spec *Spec) bool {
	inUse := s.Endpoint.Addr()
	return len(spec.Addresses) > 0 && slices.Contains(before.addresses, inUse) && !slices.Contains(spec.Addresses, inUse)
}
