package reconciler

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/event"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

// report logs what has changed since the last pass, and records it as events.
func (e *Engine) report(now time.Time, p *Pass, transitions []peer.Transition) {
	for _, t := range transitions {
		e.reportPeer(p, t)
	}
	e.recordPeers(now, p, transitions)
	for id, reason := range p.refused {
		if e.refused[id] != reason {
			e.log.Warn("affiliate refused", "affiliate", id, "reason", reason)
			e.events.Record(now, resource.Warning, string(event.AffiliateRefused), id, reason)
		}
	}
	e.refused = p.refused
}

// reportPeer reports the new state, endpoint and relay of a peer. The trial of an endpoint is
// logged at Debug: an operator wants to see the state that it leads to.
func (e *Engine) reportPeer(p *Pass, t peer.Transition) {
	was, is := peer.Connection{}, t.After
	if t.Before != nil {
		was = *t.Before
	}
	name := p.name(is.Key)
	log := e.log.With("peer", name, "key", is.Key.String())
	if was.Status.State != is.Status.State {
		log := log.With("endpoint", is.Status.Endpoint.String())
		switch is.Status.State {
		case peer.Up:
			log.Info("peer up")
		case peer.Down:
			log.Info("peer down")
		case peer.Unknown:
			log.Debug("peer endpoint on trial")
		}
	}
	if t.Moved() {
		log.Info("peer endpoint changed", "from", was.LastGood.String(), "to", is.LastGood.String())
	}
	switch w := p.way(&was, is); {
	case w.reason == "":
	case is.Relayed():
		log.Info("peer relayed", "relay", w.relay)
	case is.IsBlind():
		log.Info("peer reached through a blind relay", "relay", w.relay)
	default:
		log.Info("peer reached directly", "punched", w.reason == event.PeerPunched)
	}
}

// way is how a peer is reached that was reached in another way before.
type way struct {
	// reason is that of an event about it; empty where there is none.
	reason event.Reason
	what   string
	// relay is the name of the relay; empty for none.
	relay string
}

// way returns the way of a peer, which has no reason if it is the same as before.
func (p *Pass) way(was, is *peer.Connection) way {
	const punched = "is reached directly, through NATs that both ends have opened"
	opened := is.PathKind(false) == peer.PathPunched
	switch {
	case was.Relay == is.Relay && was.IsBlind() == is.IsBlind() && (!is.IsBlind() || was.BlindRelay == is.BlindRelay):
		if opened && was.PathKind(false) != peer.PathPunched {
			return way{event.PeerPunched, punched, ""}
		}
		return way{}
	case is.Relayed():
		relay := p.name(is.Relay)
		return way{event.PeerRelayed, "cannot be reached; its traffic goes through the relay " + relay, relay}
	case is.IsBlind():
		relay := p.relay(is.BlindRelay)
		return way{event.PeerRelayed, "is reached through the relay " + relay + ", which cannot read its traffic", relay}
	case opened:
		return way{event.PeerPunched, punched, ""}
	case is.IsUp():
		return way{event.PeerDirect, "its traffic goes directly again", ""}
	default:
		return way{}
	}
}

// name returns the name of the peer with a key: the key, if it is none.
func (g *gathered) name(key mesh.Key) string {
	if spec := g.spec(key); spec != nil {
		return spec.Name
	}
	return key.String()
}

// spec returns the spec of the peer with a key, or nil.
func (g *gathered) spec(key mesh.Key) *mesh.PeerSpec {
	i, found := g.specAt(key)
	if !found {
		return nil
	}
	return &g.specs[i]
}

// findConditions reports the conditions that config, host, kernel and registries have.
func (p *Pass) findConditions(addresses []netip.Prefix, known Knowledge, live state.State, o *owners) {
	p.Report(live.Conditions...)
	p.Report(p.host.Conditions...)
	p.Report(p.announcing...)
	p.Report(p.unreachable...)
	p.Report(p.invalid...)
	p.Report(known.Conditions...)
	p.Report(onLinks(addresses, p.host.Links)...)
	p.Report(p.ownerConditions(o)...)
	if p.mtu > p.maxMTU {
		p.Report(condition.Condition{
			Code:   condition.MTUTooLarge,
			Cause:  fmt.Sprintf("the MTU of %d is more than the %d that the links to the peers leave room for", p.mtu, p.maxMTU),
			Remedy: `set machine.network.kubespan.mtu to "auto"`,
		})
	}
}

// invalidEndpoints returns a condition for each peer that publishes endpoints that no machine
// can use.
func invalidEndpoints(specs []mesh.PeerSpec) []condition.Condition {
	var found []condition.Condition
	for i := range specs {
		var causes []string
		for _, r := range specs[i].Refused {
			if r.Invalid {
				causes = append(causes, fmt.Sprintf("%s %s", r.Endpoint, r.Reason))
			}
		}
		if len(causes) > 0 {
			found = append(found, condition.Condition{
				Code:    condition.EndpointRefused,
				Subject: specs[i].Name,
				Cause:   "publishes endpoints that no machine can use: " + listed(causes, "; "),
				Remedy:  "change what the peer announces, such as its extraAnnouncedEndpoints",
			})
		}
	}
	return found
}

// onLinks returns a condition for each network of the config's addresses that a link of the
// machine is attached to.
func onLinks(addresses []netip.Prefix, links []mesh.Link) []condition.Condition {
	var found []condition.Condition
	for _, a := range addresses {
		for _, l := range links {
			if !a.IsSingleIP() && slices.ContainsFunc(l.Networks, a.Overlaps) {
				found = append(found, condition.Condition{
					Code:    condition.MeshAddressOnLink,
					Subject: a.String(),
					Cause:   fmt.Sprintf("the mesh address %s is in a network that the link %s is attached to", a, l.Name),
					Remedy:  "use a network for machine.network.kubespan.addresses that no link is attached to",
				})
			}
		}
	}
	return found
}
