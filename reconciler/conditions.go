package reconciler

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/resource"
)

// heldCondition is a condition that lasts.
type heldCondition struct {
	condition.Condition
	// since is when it began.
	since time.Time
}

// cleared is the reason of the event that ends a condition.
const cleared = "Cleared"

// levels are the levels at which conditions are logged.
var levels = map[condition.Severity]slog.Level{
	condition.SeverityError:   slog.LevelError,
	condition.SeverityWarning: slog.LevelWarn,
	condition.SeverityInfo:    slog.LevelInfo,
}

// holdConditions makes found the present conditions. Each is logged and recorded when it
// begins, and recorded when it ends. Those that stand are added.
func (e *Engine) holdConditions(now time.Time, found []condition.Condition) {
	for _, c := range e.standing {
		found = append(slices.Clip(found), c...)
	}
	found = condition.Sort(found)
	held := make(map[condition.Key]heldCondition, len(found))
	changed := len(found) != len(e.conditions)
	for _, c := range found {
		before, lasts := e.conditions[c.Key()]
		since := now
		if lasts {
			since = before.since
		} else {
			e.log.Log(context.Background(), levels[c.Severity()], "condition",
				"code", string(c.Code), "subject", c.Subject, "cause", c.Cause, "remedy", c.Remedy)
			severity := resource.Warning
			if c.Severity() == condition.SeverityInfo {
				severity = resource.Normal
			}
			e.events.Record(now, severity, string(c.Code), c.Subject, c.Cause+": "+c.Remedy)
		}
		held[c.Key()] = heldCondition{c, since}
		changed = changed || !lasts || before.Condition != c
	}
	for key, c := range e.conditions {
		if _, lasts := held[key]; !lasts {
			e.log.Info("condition cleared", "code", string(key.Code), "subject", key.Subject)
			e.events.Record(now, resource.Normal, cleared, key.Subject, string(key.Code)+" has ended: "+c.Cause)
			changed = true
		}
	}
	e.conditions = held
	if changed {
		e.publishConditions(now)
	}
}

// stand makes found the present conditions of a code that no pass finds.
func (e *Engine) stand(now time.Time, code condition.Code, found []condition.Condition) {
	if e.standing == nil {
		e.standing = map[condition.Code][]condition.Condition{}
	}
	e.standing[code] = found
	var others []condition.Condition
	for key, c := range e.conditions {
		if key.Code != code {
			others = append(others, c.Condition)
		}
	}
	e.holdConditions(now, others)
}

// holdFailure adds the condition of a failed pass, if it has one, to those that last. It
// takes the place of that of the last failure.
func (e *Engine) holdFailure(now time.Time, err error) {
	var found []condition.Condition
	for key, c := range e.conditions {
		if key != e.failure {
			found = append(found, c.Condition)
		}
	}
	e.failure = condition.Key{}
	if failed := (*condition.Error)(nil); errors.As(err, &failed) {
		e.failure = failed.Key()
		found = append(found, failed.Condition)
	}
	e.holdConditions(now, found)
}

func (e *Engine) publishConditions(now time.Time) {
	specs := make(map[string]any, len(e.conditions))
	for key, c := range e.conditions {
		id := string(key.Code)
		if key.Subject != "" {
			id += "/" + key.Subject
		}
		specs[id] = resource.Condition{Code: string(c.Code), Severity: string(c.Severity()), Subject: c.Subject,
			Since: c.since, Cause: c.Cause, Remedy: c.Remedy}
	}
	e.store.Replace(now, resource.Conditions, specs)
}
