package reconciler

import (
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/event"
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
	// contested is the object of repairs that follow each other; "" for none.
	contested string
	// objects are what those repairs were of.
	objects map[string]bool
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

// resetIfQuiet starts over after a quiet period.
func (b *repairBackoff) resetIfQuiet(now time.Time) {
	if now.Sub(b.last) >= quietPeriod {
		b.repairs, b.contested, b.objects = 0, "", nil
	}
}

// held returns the objects whose repairs are held back now.
func (b *repairBackoff) held(now time.Time) map[string]bool {
	if !b.until.After(now) {
		return nil
	}
	return b.objects
}

// note counts a repair of objects and returns how long to wait before the next one.
func (b *repairBackoff) note(now time.Time, objects []string) time.Duration {
	b.resetIfQuiet(now)
	if b.objects == nil {
		b.objects = map[string]bool{}
	}
	for _, object := range objects {
		b.objects[object] = true
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

// reportRepairs logs and records the repairs of a pass.
func (l *Loop) reportRepairs(p *Pass) {
	repairs := p.repairs()
	if len(repairs) == 0 {
		return
	}
	now := time.Now()
	var objects []string
	for _, c := range repairs {
		objects = append(objects, c.Object())
		if p.unconverged[c.String()] {
			l.log.Warn("change did not hold", "change", c.String())
			continue
		}
		l.log.Warn("reverted external change", "change", c.String())
		l.engine.Meter.Repaired(c.Kind)
		l.engine.events.Record(now, resource.Warning, string(event.Repaired), c.Object(), "reverted external change: "+c.String())
	}
	if len(p.unconverged) > 0 {
		l.repairs.repairs = max(l.repairs.repairs, repairsAtOnce)
	}
	pause := l.repairs.note(now, objects)
	if pause == 0 {
		return
	}
	l.log.Warn("repeated repairs", "repairs", l.repairs.repairs, "retry_in", pause.String())
	if len(p.unconverged) == 0 && !p.converged {
		l.repairs.contested = repairs[0].Object()
	}
}

// repairs returns the changes that reverted what neither the config nor discovery has asked
// for.
func (p *Pass) repairs() []planprint.Change {
	if !p.Same {
		return nil
	}
	var repairs []planprint.Change
	for _, c := range p.Result.Done {
		if isRepair(c) {
			repairs = append(repairs, planprint.Describe(c))
		}
	}
	return repairs
}

// findStuck looks for changes that do not converge. Two passes in a row have made them, and a
// reading right after the second still asks for them. Another program reverts them, or the
// kernel does not keep them as they were written.
func (e *Engine) findStuck(p *Pass) {
	repairs := p.repairs()
	if len(repairs) == 0 {
		return
	}
	before := e.repaired
	e.repaired = map[string]bool{}
	again := false
	for _, c := range repairs {
		text := c.String()
		e.repaired[text] = true
		again = again || before[text]
	}
	if !again {
		return
	}
	live, err := e.kernel.Observe(p.Scope)
	if err != nil {
		return // the next pass has the error
	}
	p.unconverged = map[string]bool{}
	for _, c := range state.Diff(p.desired, live) {
		if text := planprint.Describe(c).String(); before[text] && e.repaired[text] {
			p.unconverged[text] = true
		}
	}
	for text := range e.unconverged {
		p.converged = p.converged || before[text] && e.repaired[text] && !p.unconverged[text]
	}
	e.unconverged = p.unconverged
	p.reportUnconverged(p.unconverged, p.Result.Done)
}

// reportUnconverged reports the changes of a plan that do not converge.
func (p *Pass) reportUnconverged(unconverged map[string]bool, plan state.Plan) {
	for _, c := range plan {
		if shown := planprint.Describe(c); unconverged[shown.String()] {
			p.Report(condition.Condition{
				Code:    condition.PlanNotConverging,
				Subject: shown.Object(),
				Cause:   "a change was made twice, and right after it had to be made again: " + shown.String(),
				Remedy:  "find the program that reverts it, such as with `ip monitor`; if there is none, the kernel does not keep the change: report it",
			})
		}
	}
}

// reportRepeated reports the object that another program changes again and again; "" for none.
func (p *Pass) reportRepeated(object string) {
	if object != "" {
		p.Report(condition.Condition{
			Code:    condition.RepeatedRepairs,
			Subject: object,
			Cause:   "another program changes it again and again; spanctl repairs it after growing pauses",
			Remedy:  "find that program, or take the mesh down",
		})
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

// holdRepairs takes the repairs of some objects out of a plan. A pass that carries out news
// repairs as well.
func (e *Engine) holdRepairs(p *Pass, objects map[string]bool) {
	if len(objects) == 0 || !p.Same {
		return
	}
	isHeld := func(c state.Change) bool { return isRepair(c) && objects[planprint.Describe(c).Object()] }
	// Most other objects need the link.
	if slices.ContainsFunc(p.Plan, func(c state.Change) bool { _, isLink := c.(state.LinkChange); return isLink && isHeld(c) }) {
		isHeld = isRepair
	}
	all := len(p.Plan)
	p.Plan = slices.DeleteFunc(p.Plan, isHeld)
	p.Held = all - len(p.Plan)
}
