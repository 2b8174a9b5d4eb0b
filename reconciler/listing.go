package reconciler

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
)

// keptFor is how long discovery services keep an endpoint that is not published any more
// (discoveryhttp.TTL).
const keptFor = 30 * time.Minute

// listedRelay is an endpoint of a relay that this machine lists among its own.
type listedRelay struct {
	relay mesh.Key
	at    netip.AddrPort
	// until is when services have forgotten an endpoint that was withdrawn; zero for one that is listed.
	until time.Time
}

// listRelays returns the endpoints of relays that the machine lists next, at most mesh.MaxListedRelays, and
// those that it has withdrawn of late. Choices are the endpoints of relays with which it is registered, the
// best first, and own those of the machine itself.
func listRelays(now time.Time, own []netip.AddrPort, choices, before []listedRelay) (next []listedRelay) {
	room := min(mesh.MaxListedRelays, mesh.MaxEndpoints-len(own))
	isKnown := func(e netip.AddrPort) bool {
		return slices.Contains(own, e) || slices.ContainsFunc(next, func(l listedRelay) bool { return l.at == e })
	}
	for _, l := range choices {
		if len(next) < room && !isKnown(l.at) {
			next = append(next, l)
		}
	}
	for _, l := range before {
		if l.until.IsZero() {
			l.until = now.Add(keptFor)
		}
		if now.Before(l.until) && !isKnown(l.at) && len(next) < mesh.MaxRelayEndpoints {
			next = append(next, l)
		}
	}
	return next
}

// relayChoices returns the endpoints at which relays carry packets for the machine, one of each. An endpoint
// that is listed already stays that of its relay.
func relayChoices(registered []peer.BlindRelay, relays []mesh.BlindRelay, before []listedRelay) (choices []listedRelay) {
	for _, r := range registered {
		i := slices.IndexFunc(relays, func(b mesh.BlindRelay) bool { return b.Key == r.Key })
		if i < 0 {
			continue
		}
		choices = append(choices, listedRelay{relay: r.Key, at: listedEndpoint(r, &relays[i], before)})
	}
	return choices
}

// listedEndpoint returns the endpoint of a relay that others are to use: one at which the relay has answered,
// since a service may say of its relay what it likes. Of one that is reached over TCP, whose certificate is
// right, it is one of UDP all the same.
func listedEndpoint(r peer.BlindRelay, known *mesh.BlindRelay, before []listedRelay) netip.AddrPort {
	isListed := func(l listedRelay) bool {
		return l.relay == r.Key && l.until.IsZero() && slices.Contains(known.Endpoints, l.at)
	}
	i := slices.IndexFunc(before, isListed)
	switch {
	case known.Member:
		return r.Endpoint
	case i >= 0:
		return before[i].at
	case r.Endpoint != known.Local:
		return r.Endpoint
	default:
		return known.Endpoints[0]
	}
}

// publishRelays publishes the endpoints of the relays with which the machine is registered, after its own:
// only by these do machines without an agent reach it behind a NAT. Where all have an agent, there are none.
func (e *Engine) publishRelays(p *Pass, now time.Time) {
	k := &p.Local.KubeSpan
	if k.IsZero() {
		return
	}
	var choices []listedRelay
	if p.withoutAgent {
		choices = relayChoices(p.registered, p.relays, e.listed)
	}
	e.listed = listRelays(now, k.Endpoints, choices, e.listed)
	if len(e.listed) == 0 {
		return
	}
	// The lists are those of what was gathered.
	k.Endpoints, k.RelayEndpoints = slices.Clone(k.Endpoints), nil
	for _, l := range e.listed {
		if l.until.IsZero() {
			k.Endpoints = append(k.Endpoints, l.at)
		}
		k.RelayEndpoints = append(k.RelayEndpoints, l.at)
	}
}
