package reconciler

import (
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

// Meter counts what a Loop and its Engine do. Its methods do not wait, and are called on the
// goroutine of the loop.
type Meter interface {
	// Pass counts a pass, how long it took, and the error that ended it; nil for none.
	Pass(took time.Duration, err error)
	// Changed counts a change that was made of an object, of one of planprint.Kinds.
	Changed(kind string, action state.Action)
	// Repaired counts the revert of a change that another program made of such an object.
	Repaired(kind string)
	// Recorded counts an event by its reason, a word.
	Recorded(reason string)
	// Probed counts a probe that was sent to a peer.
	Probed(peer mesh.Key)
	// Answered counts a peer's answer to an echo. The round-trip time is zero if it is not known.
	Answered(peer mesh.Key, rtt time.Duration)
}

// unmetered is the Meter of an engine that nobody watches.
type unmetered struct{}

func (unmetered) Pass(time.Duration, error)        {}
func (unmetered) Changed(string, state.Action)     {}
func (unmetered) Repaired(string)                  {}
func (unmetered) Recorded(string)                  {}
func (unmetered) Probed(mesh.Key)                  {}
func (unmetered) Answered(mesh.Key, time.Duration) {}
