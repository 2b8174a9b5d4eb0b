package walk

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Step is a fault, or the healing of all faults before it.
type Step struct {
	// Action is the name of what is done.
	Action string
	// Node is the number of the machine that it is done to, from 0 on. Its meaning is the action's.
	Node int
	// Argument decides what the action leaves open. It is not negative.
	Argument int
	// Pause is the time until the next step.
	Pause time.Duration
}

// Heal is the action that ends all faults, after which everything must be well.
const Heal = "heal"

// Walk is a list of steps.
type Walk []Step

const (
	// maxGroup is how many faults there are at most until they are healed.
	maxGroup = 4
	// shortPause bounds most pauses, and longPause every tenth.
	shortPause = 300 * time.Millisecond
	longPause  = 2 * time.Second
	// arguments is the number of different arguments.
	arguments = 1000
)

// Generate returns the walk of a seed: as many faults as asked for, and a Heal after each one to four of
// them. The faults are drawn from actions, of which some may be there more than once.
func Generate(seed uint64, faults int, actions []string, nodes int) Walk {
	r := rand.New(rand.NewPCG(seed, 1))
	var w Walk
	for faults > 0 {
		for range min(faults, 1+r.IntN(maxGroup)) {
			limit := shortPause
			if r.IntN(10) == 0 {
				limit = longPause
			}
			w = append(w, Step{
				Action:   actions[r.IntN(len(actions))],
				Node:     r.IntN(nodes),
				Argument: r.IntN(arguments),
				Pause:    time.Duration(r.Int64N(int64(limit))).Truncate(time.Millisecond),
			})
			faults--
		}
		w = append(w, Step{Action: Heal})
	}
	return w
}

// Faults returns the number of faults of a walk.
func (w Walk) Faults() (n int) {
	for _, s := range w {
		if s.Action != Heal {
			n++
		}
	}
	return n
}

// Groups cuts a walk behind each Heal. The last group may have none.
func (w Walk) Groups() (groups []Walk) {
	for len(w) > 0 {
		end := slices.IndexFunc(w, func(s Step) bool { return s.Action == Heal }) + 1
		if end == 0 {
			end = len(w)
		}
		groups = append(groups, w[:end:end])
		w = w[end:]
	}
	return groups
}

// Legs cuts a walk into at most n parts of about as many groups. One after the other they are the walk.
func (w Walk) Legs(n int) (legs []Walk) {
	groups := w.Groups()
	n = min(n, len(groups))
	for i := range n {
		legs = append(legs, slices.Concat(groups[i*len(groups)/n:(i+1)*len(groups)/n]...))
	}
	return legs
}
