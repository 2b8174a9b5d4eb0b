package link

import (
	"net/netip"
	"slices"
	"time"
)

// State is what is known of the connection to a peer.
type State string

// The states of a peer.
const (
	// Unknown: the endpoint was just changed, or there is none to try.
	Unknown State = "unknown"
	// Up: there is a recent handshake.
	Up State = "up"
	// Down: there is no recent handshake.
	Down State = "down"
)

const (
	// handshakeLifetime is the age at which a handshake says nothing any more:
	// the WireGuard protocol's Reject-After-Time, Rekey-Timeout and
	// Rekey-Attempt-Time of 180, 5 and 90 seconds (WireGuard paper, section 6.1).
	handshakeLifetime = (180 + 5 + 90) * time.Second
	// trial is how long an endpoint has to show a handshake: as long as two
	// lost handshakes take, which are sent 5 seconds apart.
	trial = 15 * time.Second
)

// quiet is how long the machine that does not begin waits for the other to: a
// handshake takes one round trip, and half a second more for the other machine
// to learn of this one.
const quiet = time.Second

// How long to wait until the peers are looked at again.
const (
	// RestInterval is for a mesh in which nothing is in the balance.
	RestInterval = 30 * time.Second
	// TrialInterval is for a mesh in which an endpoint is on trial.
	TrialInterval = 500 * time.Millisecond
	// CrowdInterval is the same for a mesh of more than crowd peers, where
	// reading them all so often would cost more than it tells.
	CrowdInterval = 5 * time.Second
	crowd         = 500
)

// Spec is what is configured of a peer.
type Spec struct {
	// Endpoints are tried in this order.
	Endpoints []netip.AddrPort
	// Begins tells that this machine opens the conversation with a new peer. Of
	// two machines one should: handshakes that cross spoil each other, and
	// WireGuard tries again only after 5 seconds (WireGuard paper, section 6.4).
	// When both begin, or both wait, the tunnel still comes up, later.
	Begins bool
}

// Status is what is known of a peer; its zero value is a peer not seen before.
type Status struct {
	State State
	// Endpoint is where WireGuard sends to now, which may have roamed.
	Endpoint netip.AddrPort
	// LastUsedEndpoint was the last to be set, at LastEndpointChange.
	LastUsedEndpoint   netip.AddrPort
	LastEndpointChange time.Time
	LastHandshake      time.Time
	// QuietUntil is set while a new peer is left to begin: without keepalives,
	// which would make WireGuard begin itself.
	QuietUntil time.Time
	// ReceiveBytes and TransmitBytes are WireGuard's counters.
	ReceiveBytes, TransmitBytes int64
}

// Quiet tells that the peer is to have no keepalives for now.
func (s Status) Quiet() bool { return !s.QuietUntil.IsZero() }

// Observed is what WireGuard shows of a peer.
type Observed struct {
	// Present tells that WireGuard has the peer.
	Present                     bool
	Endpoint                    netip.AddrPort
	LastHandshake               time.Time
	ReceiveBytes, TransmitBytes int64
}

// Step makes a peer's next status. Change is the endpoint to set now; it is
// invalid when WireGuard's own is to be left alone, which it is as long as the
// peer is up, wherever it may have roamed.
func Step(now time.Time, spec Spec, before Status, seen Observed) (after Status, change netip.AddrPort) {
	after = before
	after.ReceiveBytes, after.TransmitBytes = seen.ReceiveBytes, seen.TransmitBytes
	after.LastHandshake = seen.LastHandshake
	if seen.Endpoint.IsValid() {
		after.Endpoint = seen.Endpoint
	}
	if !after.LastUsedEndpoint.IsValid() && seen.Endpoint.IsValid() {
		after = adopt(now, after, seen)
	}
	after.State = stateAt(now, after)
	switch {
	case !seen.Present && !spec.Begins:
		after.QuietUntil = now.Add(quiet)
	case after.State == Up || !after.QuietUntil.After(now):
		after.QuietUntil = time.Time{}
	}

	switch {
	case !seen.Present && before.Endpoint.IsValid() && before.State != Down:
		// Someone removed the peer: it comes back with the endpoint it had.
		change = before.Endpoint
	case due(after, spec.Endpoints):
		change = following(spec.Endpoints, after.LastUsedEndpoint)
		after.LastUsedEndpoint = change
	default:
		return after, netip.AddrPort{}
	}
	after.Endpoint, after.LastEndpointChange, after.State = change, now, Unknown
	return after, change
}

// adopt takes over a peer that WireGuard has but this process has not seen,
// as after a restart. A tunnel that works stays up; another gets its trial.
func adopt(now time.Time, s Status, seen Observed) Status {
	s.LastUsedEndpoint = seen.Endpoint
	if now.Sub(seen.LastHandshake) >= handshakeLifetime {
		s.LastEndpointChange = now
	}
	return s
}

func stateAt(now time.Time, s Status) State {
	if !s.LastUsedEndpoint.IsValid() && s.LastHandshake.IsZero() {
		return Unknown
	}
	sinceChange := now.Sub(s.LastEndpointChange)
	if sinceChange > handshakeLifetime {
		if now.Sub(s.LastHandshake) < handshakeLifetime {
			return Up
		}
		return Down
	}
	switch {
	case s.LastHandshake.After(s.LastEndpointChange):
		return Up
	case sinceChange <= trial:
		return Unknown
	default:
		return Down
	}
}

// due tells whether it is time for another endpoint.
func due(s Status, candidates []netip.AddrPort) bool {
	if len(candidates) == 0 {
		return false
	}
	if !s.LastUsedEndpoint.IsValid() {
		return s.State != Up
	}
	if s.State != Down {
		return false
	}
	only := len(candidates) == 1 && candidates[0] == s.LastUsedEndpoint && s.Endpoint == s.LastUsedEndpoint
	return !only
}

// following is the candidate after last, round robin; the first where last is
// none of them.
func following(candidates []netip.AddrPort, last netip.AddrPort) netip.AddrPort {
	return candidates[(slices.Index(candidates, last)+1)%len(candidates)]
}

// NextLook says when the peers should be looked at again: soon while any of
// them is on trial, and when the first of them need not be quiet any more.
func NextLook(now time.Time, statuses []Status) time.Duration {
	next := RestInterval
	for _, s := range statuses {
		if s.State == Unknown && s.LastUsedEndpoint.IsValid() {
			next = min(next, CrowdInterval)
			if len(statuses) <= crowd {
				next = TrialInterval
			}
		}
		if s.Quiet() {
			next = min(next, max(s.QuietUntil.Sub(now), 0))
		}
	}
	return next
}
