package reconciler

import (
	"time"

	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

// fight is the memory of repairs, so that spanctl and another program do not
// change the same thing back and forth without a pause.
type fight struct {
	// repairs are how many there were in a row, last when the last one was.
	repairs int
	last    time.Time
	// until is when the next repair may be.
	until time.Time
}

const (
	// atOnce is how many repairs in a row are done without a pause, which then
	// doubles from one to the next, from pauseAtLeast to pauseAtMost.
	atOnce       = 5
	pauseAtLeast = time.Second
	pauseAtMost  = 30 * time.Second
	// peace ends a row of repairs.
	peace = time.Minute
)

// note counts a repair and tells how long to pause now.
func (f *fight) note(now time.Time) time.Duration {
	if now.Sub(f.last) >= peace {
		f.repairs = 0
	}
	f.repairs++
	f.last = now
	if f.repairs <= atOnce {
		return 0
	}
	pause := min(pauseAtLeast<<min(f.repairs-atOnce-1, 10), pauseAtMost)
	f.until = now.Add(pause)
	return pause
}

// repaired looks for repairs in what a pass did, which neither the config nor
// discovery asked for.
func (l *Loop) repaired(p *Pass) {
	if !p.Same {
		return
	}
	var done []state.Change
	for _, c := range p.Result.Done {
		if isRepair(c) {
			done = append(done, c)
		}
	}
	if len(done) == 0 {
		return
	}
	now := time.Now()
	for _, c := range done {
		l.log.Warn("what is spanctl's was changed by someone else, and is repaired", "change", c.String())
		l.engine.events.Record(now, resource.Warning, "Repaired", c.Object.Kind()+" "+c.Object.ID(), "changed by someone else and repaired: "+c.String())
	}
	if pause := l.fight.note(now); pause > 0 {
		l.log.Warn("something changes what is spanctl's again and again; repairs slow down", "repairs", l.fight.repairs, "next_in", pause.String())
		l.engine.events.Record(now, resource.Warning, "Fight", done[0].Object.Kind()+" "+done[0].Object.ID(),
			"something changes it again and again; find out what, or take the mesh down")
	}
}

// isRepair tells a change that is not the mesh's daily work, which is endpoints
// and keepalives, and networks as peers come and go.
func isRepair(c state.Change) bool {
	switch c.Object.(type) {
	case state.Peer:
		return c.Action != state.Update || c.Has("allowedIPs") || c.Has("presharedKey")
	case state.Networks:
		return false
	default:
		return true
	}
}
