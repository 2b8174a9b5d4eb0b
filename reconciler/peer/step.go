package peer

import (
	"net/netip"
	"slices"
	"time"
)

// Step returns a peer's next status and what to do about the peer.
func Step(now time.Time, spec Spec, before Status, seen Observed) (after Status, do Action) {
	after = before
	after.leftAtRest, after.contested = spec.LeaveAtRest, spec.Contested
	if spec.Filtered {
		after.echoes, after.probing = false, probing{}
	}
	after.resumeProbing(now)
	after.observe(now, &before, &seen)
	after.displaced = after.displaced || spec.Displaced && after.lastReceived <= before.lastReceived
	up := after.isUp(now) && !spec.Leave
	switch {
	case up:
		after.LastUp, after.Tried, after.Rounds, after.Contact = InstantOf(now), nil, 0, after.Contact.whileUp()
	case before.State == Up && after.probing.byEcho:
		after.failedEchoAt = InstantOf(now)
	}
	after.deferInitiation(now, up || spec.Initiator, seen.Present)
	do = after.act(now, up, &before, &spec, &seen)
	after.addresses, after.listed, after.readAt = spec.Addresses, spec.Listed, InstantOf(now)
	if up && !do.Endpoint.IsValid() {
		after.State = Up
	} else {
		after.State = after.stateAt(now)
	}
	after.noteState(now, before.State, spec.NetworkChanged)
	after.noteLoss(now)
	if do.Probe || do.Measure {
		after.Echoes.noteSent()
		if after.Contact.Calls > 0 {
			after.Contact.echoes++
		}
	}
	return after, do
}

// noteState notes what the state means, which was another one before or the same.
func (s *Status) noteState(now time.Time, before State, networkChanged bool) {
	switch {
	case s.State == Up && before != Up:
		s.UpSince = InstantOf(now)
		s.Echoes.forget() // those of trials went to endpoints that may not be the peer's
	case s.State != Up && before == Up:
		s.noteDown(now, networkChanged)
	}
	s.Contact.Exhausted = s.Contact.Exhausted || s.Unreachable()
}

// act decides what to do about a peer.
func (s *Status) act(now time.Time, up bool, before *Status, spec *Spec, seen *Observed) (do Action) {
	switch {
	case !seen.Present && before.Endpoint.IsValid() && before.State != Down:
		// Another program removed the peer: it is restored with the endpoint that it had.
		do.Endpoint = before.Endpoint
	case !up && s.nextDue(now, spec):
		do.Endpoint = s.nextEndpoint(spec.Endpoints)
		s.LastUsedEndpoint = do.Endpoint
		// Until WireGuard asks for another session, it is the present one that may work at
		// another endpoint.
		do.Probe = spec.MayProbeIdle && !spec.Relayed && s.trusted(now)
	case up:
		return s.probe(now, before, spec)
	}
	if do.Endpoint.IsValid() {
		s.startTrial(now, do.Endpoint)
		s.sendUnconfirmed = seen.Present
	}
	return do
}

// observe copies WireGuard's reading of the peer.
func (s *Status) observe(now time.Time, before *Status, seen *Observed) {
	s.count(before, seen)
	last := InstantOf(seen.LastHandshake)
	handshake := last != s.kernelHandshake
	if handshake {
		s.LastHandshake, s.kernelHandshake = seen.LastHandshake, last
	}
	if s.LastUp.IsZero() {
		at := InstantOf(now)
		s.LastUp, s.FirstSeen, s.lastReceived = at, at, at
		if seen.Present {
			s.adopt(now, seen)
		}
	}
	s.takeReply(seen)
	s.readCounters(now, before, seen)
	if handshake || seen.Replied {
		s.Contact.heard()
	}
	if !seen.Endpoint.IsValid() {
		return
	}
	if seen.Endpoint != before.Endpoint {
		s.EndpointSince = InstantOf(now)
	}
	if before.Endpoint.IsValid() && seen.Endpoint != before.Endpoint && !s.isUp(now) {
		// WireGuard changes an endpoint only to where an authentic packet came from.
		s.startTrial(now, seen.Endpoint)
		s.received = true
	}
	s.Endpoint = seen.Endpoint
	if !s.LastUsedEndpoint.IsValid() {
		s.LastUsedEndpoint = seen.Endpoint
	}
}

// adopt takes over a peer of an earlier process. One with a recent handshake stays up, any
// other gets a trial.
func (s *Status) adopt(now time.Time, seen *Observed) {
	if seen.Endpoint.IsValid() && now.Sub(seen.LastHandshake) >= handshakeExpiry {
		s.LastEndpointChange = now
	}
}

// count copies WireGuard's counters, and adds what they have grown by. Those of a peer that was made anew
// have started at zero.
func (s *Status) count(before *Status, seen *Observed) {
	received, transmitted := before.ReceiveBytes, before.TransmitBytes
	if seen.ReceiveBytes < received || seen.TransmitBytes < transmitted {
		received, transmitted = 0, 0
	}
	s.Received += seen.ReceiveBytes - received
	s.Transmitted += seen.TransmitBytes - transmitted
	s.ReceiveBytes, s.TransmitBytes = seen.ReceiveBytes, seen.TransmitBytes
}

// readCounters derives what was received and sent since the last step. The counters start
// at zero again when a peer is created again.
func (s *Status) readCounters(now time.Time, before *Status, seen *Observed) {
	received := seen.ReceiveBytes != before.ReceiveBytes && seen.ReceiveBytes > 0 && seen.Present
	sent := seen.TransmitBytes != before.TransmitBytes
	s.moving = (received || sent) && before.moved
	s.moved = received || sent
	if received {
		s.noteReceived(now, seen.ReceiveBytes-before.ReceiveBytes)
	}
	if !before.readAt.IsZero() { // the first reading has what an earlier process counted
		s.noteContact(now, received, seen.ReceiveBytes-before.ReceiveBytes, seen.TransmitBytes-before.TransmitBytes)
	}
	if sent {
		s.noteSent(now, before, received, seen.TransmitBytes-before.TransmitBytes)
	}
	s.sendUnconfirmed = false
}

// noteSent notes that something of a size in bytes was sent, and whether anything was received
// meanwhile.
func (s *Status) noteSent(now time.Time, before *Status, received bool, size int64) {
	if !received && s.unansweredSince.IsZero() && size != keepaliveSize {
		s.unansweredSince = max(before.readAt, s.lastReceived)
	}
	at := InstantOf(now)
	if s.sendUnconfirmed {
		at = InstantOf(s.LastEndpointChange.Add(initiationWithin))
	}
	if s.sentAt.IsZero() || at < s.sentAt {
		s.sentAt = at
	}
}

// noteReceived notes that something of a size in bytes was received. That a peer calls which is up
// shows that it lives, and not that it hears this machine; one that answers echoes is asked.
func (s *Status) noteReceived(now time.Time, size int64) {
	if s.State == Up && onlyCalls(size) && s.trusted(now) {
		return
	}
	if size == keepaliveSize && s.overdueEcho(now) && s.Contact.Calls == 0 {
		// WireGuard at the other end has answered, and nobody the echoes.
		s.distrustedUntil = InstantOf(now.Add(distrustTime))
	}
	s.lastReceived, s.received = InstantOf(now), true
	s.probing, s.displaced = probing{}, false
	s.unansweredSince, s.failedEchoAt = 0, 0
	s.alive = s.alive || !onlyCalls(size)
}

// overdueEcho reports whether the peer was given up a short time ago since it did not answer
// echoes.
func (s *Status) overdueEcho(now time.Time) bool {
	return !s.failedEchoAt.IsZero() && s.failedEchoAt.age(now) < probeTimeout
}

// deferInitiation leaves a new peer without keepalives for initiationDelay, unless
// this machine initiates.
func (s *Status) deferInitiation(now time.Time, initiates, present bool) {
	switch {
	case !present && !initiates:
		s.InitiateAfter = now.Add(initiationDelay)
	case initiates || !s.InitiateAfter.After(now):
		s.InitiateAfter = time.Time{}
	}
}

// startTrial starts the trial of an endpoint.
func (s *Status) startTrial(now time.Time, endpoint netip.AddrPort) {
	s.Endpoint, s.LastEndpointChange = endpoint, now
	s.sentAt, s.sendUnconfirmed = 0, false
	s.received, s.alive, s.lastReceived = false, false, InstantOf(now)
	s.probing, s.displaced = probing{}, false
	s.unansweredSince = 0
}

// isUp reports whether the endpoint in use had a recent handshake, or data of a session
// from before, and no probe is overdue.
func (s *Status) isUp(now time.Time) bool {
	if s.displaced || s.probing.overdue(now) || s.deaf(now) {
		return false
	}
	age := now.Sub(s.LastHandshake)
	handshake := s.LastHandshake.After(s.LastEndpointChange) && (age < handshakeExpiry || s.atRest(now))
	return handshake || s.alive && age < RejectAfterTime
}

// atRest reports whether a peer without keepalives, which was up, has had no reason to make
// another handshake, or not the time for it.
func (s *Status) atRest(now time.Time) bool {
	return s.leftAtRest && s.State == Up && s.unanswered(now) < probeTimeout
}

func (s *Status) stateAt(now time.Time) State {
	switch {
	case s.isUp(now):
		return Up
	case !s.LastUsedEndpoint.IsValid() && s.LastHandshake.IsZero():
		return Unknown
	case s.onTrial(now) && s.Rounds == 0:
		return Unknown
	default:
		return Down
	}
}

// onTrial reports whether the endpoint in use may still answer.
func (s *Status) onTrial(now time.Time) bool {
	if s.LastUp > InstantOf(s.LastEndpointChange) || now.Sub(s.LastEndpointChange) >= maxEndpointTrial {
		return false // it was up and is no longer, or its time is over
	}
	return s.received || s.sentAt.IsZero() || s.sentAt.age(now) < endpointTrial
}

// nextDue reports whether it is time to give a peer that is not up another endpoint.
func (s *Status) nextDue(now time.Time, spec *Spec) bool {
	switch {
	case len(spec.Endpoints) == 0:
		return false
	case spec.Leave || !s.LastUsedEndpoint.IsValid():
		return true
	case spec.NetworkChanged && now.Sub(s.LastEndpointChange) >= minEndpointTrial:
		s.Tried, s.Rounds = nil, 0
		return true
	case s.onTrial(now):
		return s.readyDue(now, spec)
	}
	only := len(spec.Endpoints) == 1 && spec.Endpoints[0] == s.LastUsedEndpoint && s.Endpoint == s.LastUsedEndpoint
	return !only
}

// readyDue reports whether the trial of an endpoint ends for one that is known to carry packets, and came
// to be known meanwhile. A trial whose initiations cannot be sent would go on for a long time.
func (s *Status) readyDue(now time.Time, spec *Spec) bool {
	ready := spec.Endpoints[:min(spec.Ready, len(spec.Endpoints))]
	return !s.received && now.Sub(s.LastEndpointChange) >= minEndpointTrial && !slices.Contains(ready, s.Endpoint) &&
		slices.ContainsFunc(ready, func(e netip.AddrPort) bool { return !slices.Contains(s.Tried, e) })
}

// nextEndpoint returns the first candidate that has not failed in this round. When all
// have, the next round begins.
func (s *Status) nextEndpoint(candidates []netip.AddrPort) netip.AddrPort {
	tried := slices.Clip(s.Tried)
	for _, e := range []netip.AddrPort{s.LastUsedEndpoint, s.Endpoint} {
		if e.IsValid() && !slices.Contains(tried, e) {
			tried = append(tried, e)
		}
	}
	s.Tried = tried
	for _, c := range candidates {
		if !slices.Contains(tried, c) {
			return c
		}
	}
	s.Tried = nil
	s.Rounds++
	for _, c := range candidates {
		if c != s.LastUsedEndpoint {
			return c
		}
	}
	return candidates[0]
}
