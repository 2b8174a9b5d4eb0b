package peer

import "time"

// NextCheck returns how long the next reading of the peers may wait. It is soon while any
// peer is on trial, and no later than the first deferred initiation, due probe or probe's
// deadline. Count is the number of peers in the mesh.
func NextCheck(now time.Time, statuses func(yield func(*Status) bool), count int) time.Duration {
	next := IdleInterval
	for s := range statuses {
		if s.State != Up && s.LastUsedEndpoint.IsValid() {
			next = min(next, s.trialInterval(now, count))
		}
		if s.InitiationDeferred() {
			next = min(next, max(s.InitiateAfter.Sub(now), 0))
		}
		if s.State == Up {
			next = min(next, max(s.nextProbe().Sub(now), 0))
		}
	}
	return next
}

// nextProbe returns when a peer that stays silent is probed next, or is no longer up.
func (s *Status) nextProbe() time.Time {
	if s.probingSince.IsZero() {
		return s.lastReceived.Add(probeAfter)
	}
	deadline, again := s.probeDeadline(), s.lastProbe.Add(probeInterval)
	if again.Before(deadline) {
		return again
	}
	return deadline
}

// trialInterval returns how long the next reading of a peer that is not up may wait.
func (s *Status) trialInterval(now time.Time, count int) time.Duration {
	if count > largeMesh {
		return largeMeshInterval
	}
	if s.sendUnconfirmed {
		return confirmInterval
	}
	wait := min(max(now.Sub(s.LastUp)/retrySlowdown, trialInterval), retryInterval)
	if (s.sentAt.IsZero() || s.sentAt.After(now)) && now.Sub(s.LastEndpointChange) < initiationWithin {
		// endpointTrial starts when a reading first shows that something was sent.
		wait = trialInterval
	}
	// The next endpoint is due at the end of the trial.
	if left := s.sentAt.Add(endpointTrial).Sub(now); !s.sentAt.IsZero() && left > 0 {
		wait = min(wait, max(left, trialInterval/2))
	}
	return wait
}
