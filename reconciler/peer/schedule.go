package peer

import "time"

// How long to wait until the peers are looked at again.
const (
	// IdleInterval is for a mesh in which nothing is in the balance.
	IdleInterval = 30 * time.Second
	// TrialInterval is for a peer that may come up any moment; the longer it does
	// not, the longer the wait, up to RetryInterval.
	TrialInterval = 500 * time.Millisecond
	RetryInterval = 2 * time.Second
	// confirmInterval is for a peer that was given another endpoint: what is seen to be
	// sent from then on goes there.
	confirmInterval = 50 * time.Millisecond
	// LargeMeshInterval is the same for a mesh of more than largeMesh peers, where
	// reading them all so often would cost more than it tells.
	LargeMeshInterval = 5 * time.Second
	largeMesh         = 500
	// initiationWithin is how long WireGuard may take to send to another endpoint: it begins a
	// handshake every 5 seconds and a third at most (REKEY_TIMEOUT and its jitter, section
	// 6.1 of the protocol's paper).
	initiationWithin = 6 * time.Second
	// retrySlowdown is how many times longer than a wait a peer was not up.
	retrySlowdown = 10
)

// NextCheck says when peers should be looked at again, which are count in all:
// soon while any of them may come up, and when the first of them need not be
// quiet any more or owes a sign of life.
func NextCheck(now time.Time, statuses func(yield func(Status) bool), count int) time.Duration {
	next := IdleInterval
	for s := range statuses {
		if s.State != Up && s.LastUsedEndpoint.IsValid() {
			next = min(next, trialWait(now, s, count))
		}
		if s.InitiationDeferred() {
			next = min(next, max(s.InitiateAfter.Sub(now), 0))
		}
		if s.State == Up {
			next = min(next, max(s.probeDue().Sub(now), 0))
		}
	}
	return next
}

// judgement is when it is decided about a peer that is up and goes on being silent:
// whether it is to be asked for a sign of life, once more, or whether that has not
// come.
func (s *Status) probeDue() time.Time {
	if s.probingSince.IsZero() {
		return s.lastReceived.Add(probeAfter)
	}
	sign, again := s.probingSince.Add(s.probeTimeLimit()), s.lastProbe.Add(probeInterval)
	if again.Before(sign) {
		return again
	}
	return sign
}

func trialWait(now time.Time, s Status, count int) time.Duration {
	if count > largeMesh {
		return LargeMeshInterval
	}
	if s.sendUnconfirmed {
		return confirmInterval
	}
	wait := min(max(now.Sub(s.LastUp)/retrySlowdown, TrialInterval), RetryInterval)
	if (s.sentAt.IsZero() || s.sentAt.After(now)) && now.Sub(s.LastEndpointChange) < initiationWithin {
		// The time to answer runs from when it is seen that something was sent.
		wait = TrialInterval
	}
	// Not past the end of the trial, when the next endpoint is due.
	if left := s.sentAt.Add(endpointTrial).Sub(now); !s.sentAt.IsZero() && left > 0 {
		wait = min(wait, max(left, TrialInterval/2))
	}
	return wait
}
