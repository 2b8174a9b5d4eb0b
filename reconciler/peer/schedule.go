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
			next = min(next, s.upInterval(now))
		}
		next = min(next, RestInterval)
	}
	return next
}

// upInterval returns how long the next reading of a peer that is up may wait. Probes of peers
// at rest have no time of their own: they are sent at the first reading after they are due,
// many at once.
func (s *Status) upInterval(now time.Time) time.Duration {
	switch {
	case s.probing.active():
		return max(s.nextProbe().Sub(now), 0)
	case !s.unansweredSince.IsZero() && s.trusted(now):
		return min(max(unansweredAfter-s.unanswered(now), 0), ActiveInterval)
	case s.contested && s.trusted(now):
		return min(max(contestedAfter-s.lastReceived.age(now), 0), ActiveInterval)
	case s.moving:
		return ActiveInterval
	default:
		return RestInterval
	}
}

// nextProbe returns when a peer that stays silent is probed next, or is no longer up.
func (s *Status) nextProbe() time.Time {
	deadline, again := s.probing.deadline(), s.lastProbe.Time().Add(s.probing.interval())
	if again.Before(deadline) || s.probing.byEcho && s.probing.sent < minEchoes {
		return again
	}
	return deadline
}

// trialInterval returns how long the next reading of a peer that is not up may wait.
func (s *Status) trialInterval(now time.Time, count int) time.Duration {
	if count > largeMesh {
		return RestInterval
	}
	if s.sendUnconfirmed {
		return confirmInterval
	}
	wait := min(max(s.LastUp.age(now)/retrySlowdown, trialInterval), retryInterval)
	if (s.sentAt.IsZero() || s.sentAt > InstantOf(now)) && now.Sub(s.LastEndpointChange) < initiationWithin {
		// endpointTrial starts when a reading first shows that something was sent.
		wait = trialInterval
	}
	// The next endpoint is due at the end of the trial.
	if left := s.sentAt.Time().Add(endpointTrial).Sub(now); !s.sentAt.IsZero() && left > 0 {
		wait = min(wait, max(left, trialInterval/2))
	}
	return wait
}
