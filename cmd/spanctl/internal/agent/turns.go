package agent

import "github.com/spanmesh/span/reconciler"

// lastTurn has the last turn of a loop.
type lastTurn chan reconciler.Turn

func newLastTurn() lastTurn { return make(lastTurn, 1) }

// after returns what a loop calls after each turn: it keeps the turn, and passes it on.
func (l lastTurn) after(next func(reconciler.Turn)) func(reconciler.Turn) {
	return func(turn reconciler.Turn) {
		select {
		case <-l:
		default:
		}
		l <- turn // the loop alone sends
		if next != nil {
			next(turn)
		}
	}
}
