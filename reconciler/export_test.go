package reconciler

import (
	"time"

	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
)

// SetDirect is Loop.SetDirect.
func (e *Engine) SetDirect(d Direct) { e.direct = d }

// OverTCP returns the relays that the last pass wants to be reached over TCP.
func (e *Engine) OverTCP() []mesh.BlindRelay { return e.overTCP }

// Health is the health of the machine after the last pass.
func (e *Engine) Health(now time.Time) health.Report { return e.health(now) }
