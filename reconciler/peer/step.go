package peer

import (
	"net/netip"
	"slices"
	"time"
)

// Step makes a peer's next status, and says what to do about it.
func Step(now time.Time, spec Spec, before Status, seen Observed) (after Status, do Action) {
	after = before
	after.observe(now, before, seen)
	up := after.isUp(now)
	if up {
		after.LastUp, after.Tried, after.Rounds = now, nil, 0
	}
	after.deferInitiation(now, up || spec.Initiator, seen.Present)
	switch {
	case !seen.Present && before.Endpoint.IsValid() && before.State != Down:
		// Someone removed the peer: it comes back with the endpoint it had.
		do.Endpoint = before.Endpoint
	case !up && after.nextDue(now, spec):
		do.Endpoint = after.nextEndpoint(spec.Endpoints)
		after.LastUsedEndpoint = do.Endpoint
	case up:
		do.Probe = after.probe(now, before, spec)
	}
	if do.Endpoint.IsValid() {
		after.startTrial(now, do.Endpoint)
		after.sendUnconfirmed = seen.Present
	}
	after.addresses, after.endpoints = spec.Addresses, spec.Listed
	after.State = after.stateAt(now)
	return after, do
}

// ask tells whether a peer that is up is to be asked for a sign of life now.
func (s *Status) probe(now time.Time, before Status, spec Spec) bool {
	switch {
	case s.endpointWithdrawn(before, spec):
		s.probingSince, s.withdrawn = now, true
	case spec.NetworkChanged:
		s.probingSince = now
	case !s.probingSince.IsZero():
		if now.Sub(s.lastProbe) < probeInterval {
			return false
		}
	case now.Sub(s.lastReceived) >= probeAfter || len(before.endpoints) > 0 && !slices.Equal(before.endpoints, spec.Listed):
		s.probingSince = now
	default:
		return false
	}
	s.lastProbe = now
	return true
}

// hasLeft tells whether the peer had the address in use at the last step, and says
// that it has it no more.
func (s *Status) endpointWithdrawn(before Status, spec Spec) bool {
	a := s.Endpoint.Addr()
	return len(spec.Addresses) > 0 && slices.Contains(before.addresses, a) && !slices.Contains(spec.Addresses, a)
}

// hush has a new peer be quiet, unless this machine begins, and ends it.
func (s *Status) deferInitiation(now time.Time, speaks, present bool) {
	switch {
	case !present && !speaks:
		s.InitiateAfter = now.Add(initiationDelay)
	case speaks || !s.InitiateAfter.After(now):
		s.InitiateAfter = time.Time{}
	}
}

// take takes in what WireGuard shows.
func (s *Status) observe(now time.Time, before Status, seen Observed) {
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
		// WireGuard goes where something genuine came from: that is no dead end.
		s.startTrial(now, seen.Endpoint)
		s.heard = true
	}
	s.Endpoint = seen.Endpoint
	if !s.LastUsedEndpoint.IsValid() {
		s.LastUsedEndpoint = seen.Endpoint
	}
}

// count notes what the counters tell. They begin again when a peer is made anew.
func (s *Status) readCounters(now time.Time, before Status, seen Observed) {
	if seen.ReceiveBytes != before.ReceiveBytes && seen.ReceiveBytes > 0 && seen.Present {
		s.lastReceived, s.probingSince, s.withdrawn, s.heard = now, time.Time{}, false, true
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

// adopt takes over a peer that WireGuard has but this process has not seen,
// as after a restart. A tunnel that works stays up; another gets its trial.
func (s *Status) adopt(now time.Time, seen Observed) {
	if seen.Endpoint.IsValid() && now.Sub(seen.LastHandshake) >= handshakeExpiry {
		s.LastEndpointChange = now
	}
}

// changed begins the trial of an endpoint.
func (s *Status) startTrial(now time.Time, to netip.AddrPort) {
	s.Endpoint, s.LastEndpointChange = to, now
	s.sentAt, s.sendUnconfirmed, s.heard, s.alive, s.probingSince, s.withdrawn, s.lastReceived = time.Time{}, false, false, false, time.Time{}, false, now
}

// isUp tells whether the endpoint has shown a handshake that still counts, or data
// of one before, and the peer does not owe a sign of life.
func (s *Status) isUp(now time.Time) bool {
	owes := !s.probingSince.IsZero() && now.Sub(s.probingSince) >= s.probeTimeLimit()
	age := now.Sub(s.LastHandshake)
	shown := s.LastHandshake.After(s.LastEndpointChange) && age < handshakeExpiry
	return (shown || s.alive && age < rejectAfterTime) && !owes
}

// signWithin is how long a sign of life may take.
func (s *Status) probeTimeLimit() time.Duration {
	if s.withdrawn {
		return withdrawnTimeout
	}
	return probeTimeout
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

// onTrial tells whether the endpoint may still show a handshake.
func (s *Status) onTrial(now time.Time) bool {
	if s.LastUp.After(s.LastEndpointChange) || now.Sub(s.LastEndpointChange) >= maxEndpointTrial {
		return false // it was up and is no more, or had its time
	}
	return s.heard || s.sentAt.IsZero() || now.Sub(s.sentAt) < endpointTrial
}

// due tells whether it is time for another endpoint of a peer that is not up.
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

// next is the first candidate that has not failed in this round. A round ends
// when all have.
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

// Expires is when a peer that is up is so no longer, if nothing is heard of it.
func (s Status) Expires() time.Time {
	expires := s.LastHandshake.Add(handshakeExpiry)
	if sign := s.probingSince.Add(s.probeTimeLimit()); !s.probingSince.IsZero() && sign.Before(expires) {
		return sign
	}
	return expires
}

// Unreachable tells that all endpoints of a peer were tried, and there is none that
// leads to it.
func (s Status) Unreachable() bool {
	return s.State == Down && s.Rounds > 0 || s.State == Down && len(s.Tried) == 0 || s.State == Unknown && !s.LastUsedEndpoint.IsValid()
}

// Shift is the status by a clock that was set by some time.
func (s Status) Shift(by time.Duration) Status {
	if by == 0 {
		return s
	}
	for _, t := range []*time.Time{&s.LastEndpointChange, &s.LastHandshake, &s.InitiateAfter, &s.EndpointSince, &s.LastUp, &s.sentAt, &s.lastReceived, &s.probingSince, &s.lastProbe} {
		if !t.IsZero() {
			*t = t.Add(by)
		}
	}
	return s
}
