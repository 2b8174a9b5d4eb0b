package reconciler

import (
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

// document builds the desired state of each pass from that of the one before, of which it changes what has
// changed. The zero value has none.
type document struct {
	state.Document
	// gathered is gathered.id of what it was built of; 0 for nothing.
	gathered uint64
}

// build returns what state.Build does.
func (d *document) build(p *Pass, in state.Inputs) state.State {
	follows := len(p.specs) > 0 && p.follows(d.gathered)
	d.gathered = p.id
	if !follows {
		return d.Build(in)
	}
	var left []mesh.Key
	for _, i := range p.patched.left {
		left = append(left, p.patched.before[i].PublicKey)
	}
	return d.Rebuild(in, state.Changes{Peers: p.stepped, Joined: p.patched.joined, Left: left})
}

// isSame reports whether two lists are one in memory.
func isSame[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }
