package reconciler

import (
	"slices"

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
