package peer

import (
	"net/netip"
	"time"
)

// pace spreads the probes of a mesh over time.
type pace struct {
	// round is how long it takes to probe every peer of the mesh once, at maxIdleRate.
	round time.Duration
	// measureAfter is Spec.MeasureAfter.
	measureAfter time.Duration
	// allowance is how many more probes this pass may send that can as well be sent later.
	allowance int
	// guesses says which machines without an agent are tried at relays.
	guesses guesses
	// occupants has the time of the latest handshake at each endpoint; nil while no peer is
	// being probed.
	occupants map[netip.AddrPort]time.Time
}

// newPace returns the pace of a pass over count peers, whose last reading was at a time; zero for none.
// Taken is pace.occupants.
func newPace(now, lastRead time.Time, taken map[netip.AddrPort]time.Time, turns guesses, count int) pace {
	elapsed := RestInterval
	if !lastRead.IsZero() {
		elapsed = min(max(now.Sub(lastRead), 0), maxProbeGap)
	}
	return pace{
		guesses:      turns,
		round:        time.Duration(count) * time.Second / maxIdleRate,
		measureAfter: max(measureAfter, time.Duration(count)*time.Second/maxMeasureRate),
		allowance:    1 + int(elapsed*(maxIdleRate+maxMeasureRate)/time.Second),
		occupants:    taken,
	}
}

// idleAfter returns Spec.IdleAfter.
func (p *pace) idleAfter(initiator bool) time.Duration {
	if initiator {
		return max(idleAfterInitiator, p.round)
	}
	return max(idleAfterOther, p.round+idleAfterOther-idleAfterInitiator)
}

// displaced returns Spec.Displaced. Two machines cannot be at one UDP endpoint, unless it is a relay's.
func (p *pace) displaced(s *Status) bool {
	if p.occupants == nil || s.State != Up {
		return false
	}
	latest := p.occupants[s.Endpoint]
	return latest.After(s.LastHandshake) && InstantOf(latest) > s.lastReceived
}

// occupants returns pace.occupants.
func occupants(connections Connections) map[netip.AddrPort]time.Time {
	probed := false
	for i := range connections {
		if s := &connections[i].Status; s.State == Up && s.probing.active() {
			probed = true
			break
		}
	}
	if !probed {
		return nil
	}
	latest := make(map[netip.AddrPort]time.Time, len(connections))
	for i := range connections {
		s := &connections[i].Status
		if connections[i].BlindRelay.IsZero() && s.Endpoint.IsValid() && s.LastHandshake.After(latest[s.Endpoint]) {
			latest[s.Endpoint] = s.LastHandshake
		}
	}
	return latest
}
