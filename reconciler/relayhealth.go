package reconciler

import (
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/event"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
)

// healthOfRelays returns what is known of the blind relays after a pass. That the relay of a member is
// not reached is no fault: many offer one behind a NAT, and another is used then.
func (p *Pass) healthOfRelays() (all []health.BlindRelay) {
	if p.config == nil {
		return nil
	}
	for i := range p.relays {
		r := &p.relays[i]
		shown := health.BlindRelay{Name: r.Name, Endpoints: r.Endpoints, URL: r.URL}
		if at := p.registration(r.Key); at.Endpoint.IsValid() && !at.Lost {
			shown.Registered, shown.OverTCP = true, at.Endpoint == r.Local
		} else if r.Member {
			continue
		}
		all = append(all, shown)
	}
	return all
}

// registration returns the machine's registration with a relay; zero for none.
func (p *Pass) registration(relay mesh.Key) peer.BlindRelay {
	i := slices.IndexFunc(p.registered, func(r peer.BlindRelay) bool { return r.Key == relay })
	if i < 0 {
		return peer.BlindRelay{}
	}
	return p.registered[i]
}

// relayWay is how a machine is registered with a blind relay.
type relayWay string

// The ways.
const (
	notRegistered relayWay = ""
	byUDP         relayWay = "UDP"
	overTCP       relayWay = "TCP"
)

// relayWayOf returns the way of a registration.
func relayWayOf(r *mesh.BlindRelay, at peer.BlindRelay) relayWay {
	switch {
	case !at.Endpoint.IsValid() || at.Lost:
		return notRegistered
	case at.Endpoint == r.Local:
		return overTCP
	default:
		return byUDP
	}
}

// relayEvent returns the reason and the message of an event about a blind relay that is reached in another
// way than before; both are empty where it is not.
func relayEvent(was, is relayWay) (reason event.Reason, message string) {
	switch {
	case was == is:
		return "", ""
	case is == notRegistered:
		return event.RelayLost, "the relay does not answer any more"
	case is == overTCP:
		return event.RelayOverTCP, "the relay is reached over TCP, since its UDP port does not answer"
	case was == overTCP:
		return event.RelayReached, "the relay is reached by UDP again, and not over TCP"
	default:
		return event.RelayReached, "the relay is reached by UDP"
	}
}

// recordRelay records that a blind relay is reached in another way than before. A handshake by UDP shows
// that UDP works again.
func (e *Engine) recordRelay(now time.Time, r *mesh.BlindRelay, w *relayWatch, at peer.BlindRelay) {
	is := relayWayOf(r, at)
	if reason, message := relayEvent(w.reached, is); reason != "" {
		e.recordNormal(now, reason, r.Name, message)
	}
	if w.reached == overTCP && is == byUDP {
		e.returns++
	}
	w.reached = is
}
