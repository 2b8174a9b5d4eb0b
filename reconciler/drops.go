package reconciler

import (
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// dropsWindow is the least time that drops are counted over.
const dropsWindow = 10 * time.Second

// drops is what the rules against packets in clear have counted.
type drops struct {
	// since is when before was read; zero while something that leads packets into the tunnel was
	// missing: such packets are dropped then, whoever sent them.
	since  time.Time
	before state.Dropped
	// shadowed is set once rules of other programs led packets elsewhere since then.
	shadowed bool
	// found is what the last window showed.
	found []condition.Condition
}

// isDue reports whether it is time to see if what was found is over.
func (d *drops) isDue(now time.Time) bool { return len(d.found) > 0 && now.Sub(d.since) >= dropsWindow }

// followDrops reports packets that were dropped though nothing was missing. Missing is set where
// something was that leads packets into the tunnel. Shadowed is set where rules of other programs
// lead packets elsewhere, or did until this pass: such packets are dropped with their mark.
func (e *Engine) followDrops(now time.Time, p *Pass, live state.State, missing, shadowed bool) drops {
	d := e.drops
	d.shadowed = d.shadowed || shadowed
	switch {
	case p.desired.Link.Name == "" || missing:
		d = drops{}
	case !p.whole:
	case d.since.IsZero():
		d.since, d.before, d.shadowed = now, live.Firewall.Dropped, false
	case now.Sub(d.since) >= dropsWindow:
		d.found = nil
		dropped := live.Firewall.Dropped.Since(d.before)
		if d.shadowed {
			dropped.Unmarked = 0
		}
		if c, is := state.Rewritten(p.Scope, dropped, now.Sub(d.since)); is {
			d.found = []condition.Condition{c}
		}
		d.since, d.before, d.shadowed = now, live.Firewall.Dropped, false
	}
	p.Report(d.found...)
	return d
}

// leadsIntoTunnel reports whether a change is of something without which packets to the mesh
// leave otherwise.
func leadsIntoTunnel(c state.Change) bool {
	switch c.(type) {
	case state.LinkChange, state.RouteChange, state.RuleChange, state.FirewallChange, state.NetworksChange:
		return true
	default:
		return false
	}
}
