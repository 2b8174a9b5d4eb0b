package link

import "time"

// How long to wait until the peers are looked at again.
const (
	// RestInterval is for a mesh in which nothing is in the balance.
	RestInterval = 30 * time.Second
	// TrialInterval is for a peer that may come up any moment; the longer it does
	// not, the longer the wait, up to RetryInterval.
	TrialInterval = 500 * time.Millisecond
	RetryInterval = 2 * time.Second
	// settleInterval is for a peer that was given another endpoint: what is seen to be
	// sent from then on goes there.
	settleInterval = 50 * time.Millisecond
	// CrowdInterval is the same for a mesh of more than crowd peers, where
	// reading them all so often would cost more than it tells.
	CrowdInterval = 5 * time.Second
	crowd         = 500
	// sendsWithin is how long WireGuard may take to send to another endpoint: it begins a
	// handshake every 5 seconds and a third at most (REKEY_TIMEOUT and its jitter, section
	// 6.1 of the protocol's paper).
	sendsWithin = 6 * time.Second
	// patience is how many times longer than a wait a peer was not up.
	patience = 10
)

// NextLook says when peers should be looked at again, which are count in all:
// soon while any of them may come up, and when the first of them need not be
// quiet any more or owes a sign of life.
func NextLook(now time.Time, statuses func(yield func(Status) bool), count int) time.Duration {
	next := RestInterval
	for s := range statuses {
		if s.State != Up && s.LastUsedEndpoint.IsValid() {
			next = min(next, waitFor(now, s, count))
		}
		if s.Quiet() {
			next = min(next, max(s.QuietUntil.Sub(now), 0))
		}
		if s.State == Up {
			next = min(next, max(s.judgement().Sub(now), 0))
		}
	}
	return next
}

// judgement is when it is decided about a peer that is up and goes on being silent:
// whether it is to be asked for a sign of life, once more, or whether that has not
// come.
func (s *Status) judgement() time.Time {
	if s.probed.IsZero() {
		return s.received.Add(silence)
	}
	sign, again := s.probed.Add(s.signWithin()), s.asked.Add(askAgain)
	if again.Before(sign) {
		return again
	}
	return sign
}

func waitFor(now time.Time, s Status, count int) time.Duration {
	if count > crowd {
		return CrowdInterval
	}
	if s.unsure {
		return settleInterval
	}
	wait := min(max(now.Sub(s.Since)/patience, TrialInterval), RetryInterval)
	if (s.sent.IsZero() || s.sent.After(now)) && now.Sub(s.LastEndpointChange) < sendsWithin {
		// The time to answer runs from when it is seen that something was sent.
		wait = TrialInterval
	}
	// Not past the end of the trial, when the next endpoint is due.
	if left := s.sent.Add(answer).Sub(now); !s.sent.IsZero() && left > 0 {
		wait = min(wait, max(left, TrialInterval/2))
	}
	return wait
}
