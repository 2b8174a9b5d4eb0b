package reconciler

import (
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

// document builds the desired state of each pass from that of the one before, of which it changes what has
// changed. The zero value has none.
type document struct {
	state.Document
	// claimants, specs and relays are what the last one was built of.
	claimants []*mesh.Affiliate
	specs     []mesh.PeerSpec
}

// build returns what state.Build does.
func (d *document) build(p *Pass, in state.Inputs) state.State {
	if p.allStepped || len(p.specs) == 0 || !sameList(d.claimants, p.claimants) || !isSame(d.specs, p.specs) {
		d.claimants, d.specs = p.claimants, p.specs
		return d.Build(in)
	}
	return d.Rebuild(in, p.stepped)
}

// isSame reports whether two lists are one in memory.
func isSame[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }
