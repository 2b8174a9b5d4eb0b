package reconciler

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

// SetDirect is Loop.SetDirect.
func (e *Engine) SetDirect(d Direct) { e.direct = d }

// Returns is how often UDP has worked again.
func (e *Engine) Returns() int { return e.returns }

// OverTCP returns the relays that the last pass wants to be reached over TCP.
func (e *Engine) OverTCP() []mesh.BlindRelay { return e.overTCP }

// Health is the health of the machine after the last pass.
func (e *Engine) Health(now time.Time) health.Report { return e.health(now) }

// Nudge is Loop.Nudged.
func (e *Engine) Nudge(from netip.AddrPort) { e.nudged = map[netip.AddrPort]bool{from: true} }

// Relays are the registrations with blind relays.
func (p *Pass) Relays() []peer.BlindRelay { return p.registered }

// PassOverAll has the next pass work on all peers, as the first does.
func (e *Engine) PassOverAll() { e.overAll = true }

// Probe is what a Loop does after a pass.
func (e *Engine) Probe(p *Pass) { e.probe(p, 0) }

// Probing is Turn.Probing.
func (e *Engine) Probing() Probing { return e.probing }

// Statuses are Turn.Peers.
func (e *Engine) Statuses() []resource.Resource { return slices.Clone(e.statuses) }

// Desired is what the plan leads to.
func (p *Pass) Desired() state.State { return p.desired }

// Probes are to be sent.
func (p *Pass) Probes() []peer.Probe { return p.probes }

// CachePause is cachePause.
var CachePause = cachePause

// Kept returns how much the engine keeps of each thing that comes and goes.
func (l *Loop) Kept(ctx context.Context) (map[string]int, error) {
	return onLoop(ctx, l, func(context.Context) (map[string]int, error) { return l.engine.kept(), nil })
}

func (e *Engine) kept() map[string]int {
	return map[string]int{"connections": len(e.tracker.Connections()), "last good": len(e.tracker.LastGood()), "remembered": len(e.remembered),
		"sessions": len(e.sessionsBefore), "owners": len(e.owners.peers) + len(e.owners.refusals) + len(e.owners.contests) + len(e.owners.probe),
		"paths": len(e.paths.known) + len(e.paths.holes), "filtered": len(e.filtered), "refused": len(e.refused),
		"conditions": len(e.conditions) + len(e.found), "standing": len(e.standing), "statuses": len(e.statuses) + len(e.shown.at) + len(e.shown.endpoints),
		"repairs": len(e.unconverged), "relays": len(e.relays) + len(e.relayPeers) + len(e.listed) + len(e.offerTries) + len(e.overTCP),
		"probing": len(e.probing.Peers) + len(e.probing.Relays), "nudged": len(e.nudged), "shadows": len(e.shadows.paths)}
}

// Remembered returns of how many machines the names are kept.
func (e *Engine) Remembered() int { return len(e.remembered) }

// Patched reports whether the pass has changed what the last one has gathered, and whether members have joined or
// left.
func (p *Pass) Patched() (patched, members bool) { return p.patched.from != 0, p.patched.before != nil }

// Admitted is Turn.Admitted.
func (e *Engine) Admitted() (a Admitted) {
	if e.gathered != nil {
		a = e.gathered.admitted
	}
	return a
}

// SetOffer is Loop.SetOffer.
func (e *Engine) SetOffer(o Offer) { e.offer = o }

// Connections are those after the last pass, without what differs for peers at rest.
func (e *Engine) Connections() (all []peer.Connection) {
	for _, c := range e.tracker.Connections() {
		all = append(all, peer.Connection{Key: c.Key, NodeID: c.NodeID, Candidates: c.Candidates, LastGood: c.LastGood,
			Relay: c.Relay, BlindRelay: c.BlindRelay, Path: c.Path})
	}
	return all
}

// Specs are what the engine remembers of the peers.
func (e *Engine) Specs() []mesh.PeerSpec { return e.gathered.specs }
