package peer

import (
	"net/netip"
	"slices"
	"time"
)

// Step returns a peer's next status and what to do about the peer.
func Step(now time.Time, spec Spec, before Status, seen Observed) (after Status, do Action) {
	after = before
	after.observe(now, &before, seen)
	up := after.isUp(now)
	if up {
		after.LastUp, after.Tried, after.Rounds = now, nil, 0
	}
	after.deferInitiation(now, up || spec.Initiator, seen.Present)
	switch {
	case !seen.Present && before.Endpoint.IsValid() && before.State != Down:
		// Another program removed the peer: it is restored with the endpoint that it had.
		do.Endpoint = before.Endpoint
	case !up && after.nextDue(now, spec):
		do.Endpoint = after.nextEndpoint(spec.Endpoints)
		after.LastUsedEndpoint = do.Endpoint
	case up:
		do.Probe = after.probe(now, &before, spec)
	}
	if do.Endpoint.IsValid() {
		after.startTrial(now, do.Endpoint)
		after.sendUnconfirmed = seen.Present
	}
	after.addresses, after.listed = spec.Addresses, spec.Listed
	after.State = after.stateAt(now)
	return after, do
}

// observe copies WireGuard's reading of the peer.
func (s *Status) observe(now time.Time, before *Status, seen Observed) {
	s.ReceiveBytes, s.TransmitBytes = seen.ReceiveBytes, seen.TransmitBytes
	if !seen.LastHandshake.Equal(s.kernelHandshake) {
		s.LastHandshake, s.kernelHandshake = seen.LastHandshake, seen.LastHandshake
	}
	if s.LastUp.IsZero() {
		s.LastUp, s.lastReceived = now, now
		if seen.Present {
			s.adopt(now, seen)
		}
	}
	s.readCounters(now, before, seen)
	if !seen.Endpoint.IsValid() {
		return
	}
	if seen.Endpoint != before.Endpoint {
		s.EndpointSince = now
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
func (s *Status) adopt(now time.Time, seen Observed) {
	if seen.Endpoint.IsValid() && now.Sub(seen.LastHandshake) >= handshakeExpiry {
		s.LastEndpointChange = now
	}
}

// readCounters derives what was received and sent since the last step. The counters start
// at zero again when a peer is created again.
func (s *Status) readCounters(now time.Time, before *Status, seen Observed) {
	if seen.ReceiveBytes != before.ReceiveBytes && seen.ReceiveBytes > 0 && seen.Present {
		s.lastReceived, s.received = now, true
		s.probingSince, s.withdrawn = time.Time{}, false
		s.alive = s.alive || (seen.ReceiveBytes-before.ReceiveBytes)%initiationSize != 0
	}
	if seen.TransmitBytes != before.TransmitBytes {
		sent := now
		if s.sendUnconfirmed {
			sent = s.LastEndpointChange.Add(initiationWithin)
		}
		if s.sentAt.IsZero() || sent.Before(s.sentAt) {
			s.sentAt = sent
		}
	}
	s.sendUnconfirmed = false
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

// probe reports whether a liveness probe is due for a peer that is up, and notes that it is
// sent.
func (s *Status) probe(now time.Time, before *Status, spec Spec) bool {
	relisted := len(before.listed) > 0 && !slices.Equal(before.listed, spec.Listed)
	switch {
	case s.addressWithdrawn(before, spec):
		s.probingSince, s.withdrawn = now, true
	case spec.NetworkChanged:
		s.probingSince = now
	case !s.probingSince.IsZero():
		if now.Sub(s.lastProbe) < probeInterval {
			return false
		}
	case now.Sub(s.lastReceived) >= probeAfter || relisted:
		s.probingSince = now
	default:
		return false
	}
	s.lastProbe = now
	return true
}

// addressWithdrawn reports whether the peer listed the address in use at the last step
// and no longer does.
func (s *Status) addressWithdrawn(before *Status, spec Spec) bool {
	inUse := s.Endpoint.Addr()
	return len(spec.Addresses) > 0 && slices.Contains(before.addresses, inUse) && !slices.Contains(spec.Addresses, inUse)
}

// probeDeadline returns the time by which a probe must be answered.
func (s *Status) probeDeadline() time.Time {
	if s.withdrawn {
		return s.probingSince.Add(withdrawnTimeout)
	}
	return s.probingSince.Add(probeTimeout)
}

// startTrial starts the trial of an endpoint.
func (s *Status) startTrial(now time.Time, endpoint netip.AddrPort) {
	s.Endpoint, s.LastEndpointChange = endpoint, now
	s.sentAt, s.sendUnconfirmed = time.Time{}, false
	s.received, s.alive, s.lastReceived = false, false, now
	s.probingSince, s.withdrawn = time.Time{}, false
}

// isUp reports whether the endpoint in use had a recent handshake, or data of a session
// from before, and no probe is overdue.
func (s *Status) isUp(now time.Time) bool {
	if !s.probingSince.IsZero() && !now.Before(s.probeDeadline()) {
		return false
	}
	age := now.Sub(s.LastHandshake)
	handshake := s.LastHandshake.After(s.LastEndpointChange) && age < handshakeExpiry
	return handshake || s.alive && age < rejectAfterTime
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
	if s.LastUp.After(s.LastEndpointChange) || now.Sub(s.LastEndpointChange) >= maxEndpointTrial {
		return false // it was up and is no longer, or its time is over
	}
	return s.received || s.sentAt.IsZero() || now.Sub(s.sentAt) < endpointTrial
}

// nextDue reports whether it is time to give a peer that is not up another endpoint.
func (s *Status) nextDue(now time.Time, spec Spec) bool {
	switch {
	case len(spec.Endpoints) == 0:
		return false
	case !s.LastUsedEndpoint.IsValid():
		return true
	case spec.NetworkChanged && now.Sub(s.LastEndpointChange) >= minEndpointTrial:
		s.Tried, s.Rounds = nil, 0
		return true
	case s.onTrial(now):
		return false
	}
	only := len(spec.Endpoints) == 1 && spec.Endpoints[0] == s.LastUsedEndpoint && s.Endpoint == s.LastUsedEndpoint
	return !only
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
