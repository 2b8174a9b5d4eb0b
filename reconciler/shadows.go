package reconciler

import (
	"slices"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// shadows is what the last tracing of routes found.
type shadows struct {
	conditions []condition.Condition
	// paths are those that went elsewhere. They are traced again.
	paths []state.Path
	// first is the index of the network, and of the rule, to begin with.
	first int
}

// tracedAtOnce is by how many networks a tracing begins later than the one before.
const tracedAtOnce = 64

// traceRoutes reports the rules of other programs that lead packets for the mesh elsewhere.
// The kernel is asked if the pass has read it whole and no link or route is missing;
// otherwise the last answer holds.
func (e *Engine) traceRoutes(p *Pass, live state.State, missing bool) shadows {
	s := e.shadows
	if p.whole && !missing {
		s = e.trace(p, live)
	}
	p.Report(s.conditions...)
	return s
}

func (e *Engine) trace(p *Pass, live state.State) shadows {
	s := shadows{first: e.shadows.first + tracedAtOnce}
	if len(live.Ahead) == 0 || p.desired.Link.Name == "" {
		return s
	}
	own := slices.Clone(p.host.Addresses)
	for _, a := range p.desired.Addresses {
		own = append(own, a.Addr())
	}
	paths := state.Paths(p.Scope, &p.desired, live.Ahead, own, e.shadows.paths, e.shadows.first)
	s.conditions, s.paths = state.Shadowed(p.Scope, live.Ahead, paths, e.kernel.Trace(paths))
	return s
}

// incomplete reports whether changes are left to make without which packets have no way into
// the tunnel.
func incomplete(left state.Plan) bool {
	return slices.ContainsFunc(left, func(c state.Change) bool {
		switch c.(type) {
		case state.LinkChange, state.RouteChange:
			return true
		default:
			return false
		}
	})
}
