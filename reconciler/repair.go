package reconciler

import (
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/retry"
	"github.com/spanmesh/span/reconciler/state"
)

// repairBackoff slows repairs down, so that spanctl and another program do not change the
// same object back and forth without a pause.
type repairBackoff struct {
	// repairs is the number of passes in a row that repaired something.
	repairs int
	// last is the time of the last one.
	last time.Time
	// until is the earliest time of the next one.
	until time.Time
}

const (
	// repairsAtOnce is how many repairs in a row are done without a pause.
	repairsAtOnce = 5
	// minRepairPause is the first pause. Each one is twice the one before, up to maxRepairPause.
	minRepairPause = time.Second
	maxRepairPause = 30 * time.Second
	// quietPeriod is the time without a repair after which the count starts over.
	quietPeriod = time.Minute
)

// note counts a repair and returns how long to wait before the next one.
func (b *repairBackoff) note(now time.Time) time.Duration {
	if now.Sub(b.last) >= quietPeriod {
		b.repairs = 0
	}
	b.repairs++
	b.last = now
	if b.repairs <= repairsAtOnce {
		return 0
	}
	pause := retry.Pause(b.repairs-repairsAtOnce, minRepairPause, maxRepairPause)
	b.until = now.Add(pause)
	return pause
}

// reportRepairs logs and records the repairs of a pass. A change is a repair if neither the config
// nor discovery has asked for it.
func (l *Loop) reportRepairs(p *Pass) {
	if !p.Same {
		return
	}
	var repairs []planprint.Change
	for _, c := range p.Result.Done {
		if isRepair(c) {
			repairs = append(repairs, planprint.Describe(c))
		}
	}
	if len(repairs) == 0 {
		return
	}
	now := time.Now()
	for _, c := range repairs {
		l.log.Warn("reverted external change", "change", c.String())
		l.engine.events.Record(now, resource.Warning, "Repaired", c.Object(), "reverted external change: "+c.String())
	}
	if pause := l.repairs.note(now); pause > 0 {
		l.log.Warn("repeated external changes", "repairs", l.repairs.repairs, "retry_in", pause.String())
		l.engine.events.Record(now, resource.Warning, "RepeatedRepairs", repairs[0].Object(),
			"changed again and again by another program; find that program, or take the mesh down")
	}
}

// isRepair reports whether a change in an otherwise unchanged mesh reverts what another program
// did. Endpoints, keepalives and routed networks change with the state of peers, so they
// are no repairs.
func isRepair(c state.Change) bool {
	switch c := c.(type) {
	case state.PeerChange:
		return c.Action() != state.Update || c.NewAllowedIPs() || c.NewPresharedKey()
	case state.NetworksChange:
		return false
	default:
		return true
	}
}

// holdRepairs takes the repairs out of a plan while they are held back. A pass that carries
// out news repairs as well.
func (e *Engine) holdRepairs(p *Pass, held bool) {
	if !held || !p.Same {
		return
	}
	all := len(p.Plan)
	p.Plan = slices.DeleteFunc(p.Plan, isRepair)
	p.Held = all - len(p.Plan)
}
