package reconciler

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/event"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/resource"
)

// levels are the levels at which conditions are logged.
var levels = map[condition.Severity]slog.Level{
	condition.SeverityError:   slog.LevelError,
	condition.SeverityWarning: slog.LevelWarn,
	condition.SeverityInfo:    slog.LevelInfo,
}

// holdConditions makes found those of the last pass, which has succeeded.
func (e *Engine) holdConditions(now time.Time, found []condition.Condition) {
	e.found, e.failure = found, nil
	e.assess(now)
}

// holdFailure makes err the error of the last pass.
func (e *Engine) holdFailure(now time.Time, err error) {
	failure := health.Failure{Err: err, Times: 1}
	if e.failure != nil {
		failure.Times += e.failure.Times
	}
	if applied := (*ApplyError)(nil); errors.As(err, &applied) {
		failure.Err = applied.Result.Err
		if applied.Result.Failed != nil {
			failure.Change = planprint.Describe(applied.Result.Failed).String()
		}
	}
	e.failure = &failure
	e.assess(now)
}

// stand makes found the present conditions of a code that no pass finds.
func (e *Engine) stand(now time.Time, code condition.Code, found []condition.Condition) {
	if e.standing == nil {
		e.standing = map[condition.Code][]condition.Condition{}
	}
	e.standing[code] = found
	e.assess(now)
}

// snapshot returns what the health of the machine is judged by.
func (e *Engine) snapshot() health.Snapshot {
	found := slices.Clone(e.found)
	for _, c := range e.standing {
		found = append(found, c...)
	}
	s := health.Snapshot{Started: e.Started, Converged: e.everConverged, Found: found, Failure: e.failure,
		Mesh: e.asked, Known: e.known, Peers: e.peers, Relays: e.blindRelays, Offered: e.serving, Members: e.members, PathMTUs: e.paths.blackHoles()}
	if e.gathered != nil {
		s.Offline = e.gathered.host.Offline
		if !e.asked.Down {
			s.Outside = e.gathered.outside
		}
	}
	if e.sessions != nil {
		s.Sessions = e.sessions()
	}
	return s
}

// health returns the health of the machine.
func (e *Engine) health(now time.Time) health.Report {
	return health.Summarize(now, e.snapshot(), e.conditions)
}

// assess judges the machine anew. Each condition is logged and recorded when it is shown first, when
// it matters more than before, and when it ends.
func (e *Engine) assess(now time.Time) {
	before := e.conditions
	if e.sessions != nil {
		e.recordSessions(now, e.sessions())
	}
	s := e.snapshot()
	e.conditions = health.Assess(now, s, before)
	e.due = health.Due(now, s, e.conditions)
	was, is := byKey(before), byKey(e.conditions)
	for _, c := range e.conditions {
		if c.Begins(was[c.Key()]) {
			e.reportBegin(now, c.Condition)
		}
	}
	for _, c := range before {
		if _, lasts := is[c.Key()]; c.Announced != "" && !lasts {
			e.reportEnd(now, c.Condition)
		}
	}
	if shown := health.Shown(e.conditions); !slices.EqualFunc(shown, health.Shown(before), sameCondition) {
		e.publishConditions(now, shown)
	}
	e.publishHealth(now)
}

func byKey(conditions []health.Condition) map[condition.Key]health.Condition {
	m := make(map[condition.Key]health.Condition, len(conditions))
	for _, c := range conditions {
		m[c.Key()] = c
	}
	return m
}

// sameCondition reports whether two conditions read the same.
func sameCondition(a, b health.Condition) bool {
	return a.Condition == b.Condition && a.Since.Equal(b.Since)
}

// reportBegin logs and records that a condition begins.
func (e *Engine) reportBegin(now time.Time, c condition.Condition) {
	e.log.Log(context.Background(), levels[c.Severity()], "condition",
		"code", string(c.Code), "subject", c.Subject, "cause", c.Cause, "remedy", c.Remedy)
	severity := resource.Warning
	if c.Severity() == condition.SeverityInfo {
		severity = resource.Normal
	}
	e.events.Record(now, severity, string(c.Code), c.Subject, c.Cause+": "+c.Remedy)
}

// reportEnd logs and records that a condition has ended.
func (e *Engine) reportEnd(now time.Time, c condition.Condition) {
	e.log.Info("condition cleared", "code", string(c.Code), "subject", c.Subject)
	e.recordNormal(now, event.Cleared, c.Subject, string(c.Code)+" has ended: "+c.Cause)
}

func (e *Engine) publishConditions(now time.Time, shown []health.Condition) {
	specs := make(map[string]any, len(shown))
	for _, c := range shown {
		id := string(c.Code)
		if c.Subject != "" {
			id += "/" + c.Subject
		}
		specs[id] = resource.Condition{Code: string(c.Code), Severity: string(c.Severity()), Subject: c.Subject,
			Since: c.Since, Cause: c.Cause, Remedy: c.Remedy}
	}
	e.store.Replace(now, resource.Conditions, specs)
}

// healthID is the ID of the machine's health among the resources.
const healthID = "machine"

// publishHealth publishes the health in a word, where it has changed.
func (e *Engine) publishHealth(now time.Time) {
	is := e.health(now)
	spec := healthState(&is)
	if !reflect.DeepEqual(spec, e.healthState) {
		e.healthState = spec
		e.store.Replace(now, resource.HealthStates, map[string]any{healthID: spec})
	}
}

// healthState returns the health as a resource.
func healthState(r *health.Report) resource.HealthState {
	spec := resource.HealthState{State: string(r.State), Ready: r.Ready, NAT: r.Mapping.Kind, OfferedRelay: r.Offered.String()}
	for _, m := range r.PortMappings {
		spec.PortMappings = append(spec.PortMappings, m.Endpoint)
	}
	for i := range r.Relays {
		spec.Relays = append(spec.Relays, r.Relays[i].String())
	}
	return spec
}
