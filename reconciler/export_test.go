package reconciler

import (
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
