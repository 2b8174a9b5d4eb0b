package reconciler

import (
	"context"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/resource"
)

// stuckLook is how often a loop that is stuck is looked at.
const stuckLook = time.Second

// WatchStuck publishes that the loop is stuck, which it cannot do itself, until ctx ends. The turn
// that ends it takes that back.
func (l *Loop) WatchStuck(ctx context.Context) {
	named := false
	for {
		turn := l.Last()
		wait := LiveFor - time.Since(turn.At)
		switch {
		case wait > 0:
			named = false
		case !named:
			named = true
			l.publishStuck(turn)
			wait = stuckLook
		default:
			wait = stuckLook
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// publishStuck publishes that the loop is stuck since a turn.
func (l *Loop) publishStuck(since Turn) {
	now := time.Now()
	report, live := since.HealthAt(now)
	if live {
		return
	}
	c := report.Conditions[0]
	l.log.Error("condition", "code", string(c.Code), "subject", c.Subject, "cause", c.Cause, "remedy", c.Remedy)
	l.engine.publishReport(now, report)
	l.stuck.Store(true)
	if turn := l.Last(); turn.At != since.At && l.stuck.CompareAndSwap(true, false) {
		l.engine.publishReport(now, turn.Health) // it has turned meanwhile
	}
}

// takeBack ends a turn that takes back what publishStuck has published.
func (l *Loop) takeBack(turn *Turn) {
	if !l.stuck.CompareAndSwap(true, false) {
		return
	}
	// The events belong to this goroutine.
	l.engine.events.Record(turn.At, resource.Warning, string(condition.AgentStuck), "", "one pass has taken more than "+LiveFor.String())
	l.engine.reportEnd(turn.At, condition.Condition{Code: condition.AgentStuck, Cause: "the agent works again"})
	l.engine.publishReport(turn.At, turn.Health)
}

// publishReport publishes the health in place of that of the last turn.
func (e *Engine) publishReport(now time.Time, report health.Report) {
	e.publishConditions(now, report.Conditions)
	e.store.Put(now, resource.HealthStates, healthID, healthState(&report))
}
