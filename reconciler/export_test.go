package reconciler

import (
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
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
