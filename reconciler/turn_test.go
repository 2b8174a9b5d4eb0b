package reconciler_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/resource"
)

// TestTurnsEndBeforeTheirAnswers reads the last turn as soon as a request is answered. The end of
// a turn takes as long as the registries take to tell their sessions.
func TestTurnsEndBeforeTheirAnswers(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		r.registry.learn(affiliate(1)) // calls when it likes
		r.registry.mu.Lock()
		r.registry.slow = time.Second
		r.registry.mu.Unlock()
		asked := config(t, "")
		if _, err := r.SetConfig(t.Context(), asked); err != nil {
			t.Fatal(err)
		}
		if last := r.Last(); last.Config != asked || last.Mesh.Link == "" || !last.Health.Ready || len(last.Peers) != len(r.store.List(resource.PeerStatuses)) {
			t.Errorf("after a config was put in force the last turn is %+v", last)
		}
		if err := r.Stand(t.Context(), condition.MeshDown, condition.Condition{Code: condition.MeshDown}); err != nil {
			t.Fatal(err)
		}
		if last := r.Last(); last.Health.Ready {
			t.Errorf("after a condition stands the last turn is %+v", last)
		}
	})
}

// TestConditionsAreShownWhenTheyAreDue has conditions that last long enough before the next pass.
func TestConditionsAreShownWhenTheyAreDue(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		wait := condition.MetricsUnavailable.Definition().After
		if err := r.Stand(t.Context(), condition.MetricsUnavailable, condition.Condition{Code: condition.MetricsUnavailable}); err != nil {
			t.Fatal(err)
		}
		after(wait - 1)
		if got := r.conditions(); got != "" {
			t.Errorf("before %v: %q", wait, got)
		}
		after(time.Millisecond)
		if got := r.conditions(); got != "MetricsUnavailable\n" {
			t.Errorf("after %v: %q", wait, got)
		}
	})
	withLoopOf(t, func(e *reconciler.Engine) { e.Started = time.Now() }, func(t *testing.T, r *running) {
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		const left = 5 * time.Second
		r.registry.connect(health.Session{URL: "https://d", State: health.Failed, Heard: time.Now().Add(-time.Hour),
			Since: time.Now().Add(left - time.Minute), Failure: failure.Failure{Class: failure.Refused}})
		r.Know(health.Known{})
		after(left + time.Millisecond)
		if got := r.conditions(); !strings.Contains(got, "DiscoveryUnreachable/https://d\n") {
			t.Errorf("%v after the files are known: %q", left, got)
		}
	})
}

// TestHiddenConditionsEnd has a condition that was recorded hidden by its cause.
func TestHiddenConditionsEnd(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		stand := func(code condition.Code, found ...condition.Condition) {
			t.Helper()
			if err := r.Stand(t.Context(), code, found...); err != nil {
				t.Fatal(err)
			}
		}
		count := func() map[string]int {
			n := map[string]int{}
			for _, x := range r.store.List(resource.EventType) {
				if e := x.Spec.(resource.Event); e.Object != "" {
					n[e.Reason+" "+e.Object] += e.Count
				}
			}
			return n
		}
		effect := condition.Condition{Code: condition.ConfigInvalid, Subject: "effect"}
		cause := condition.Condition{Code: condition.ConfigAmbiguous, Subject: "cause"}
		stand(effect.Code, effect)
		stand(cause.Code, cause)
		stand(cause.Code)
		want := map[string]int{"ConfigInvalid effect": 1, "ConfigAmbiguous cause": 1, "Cleared cause": 1}
		if diff := cmp.Diff(want, count()); diff != "" {
			t.Errorf("what is no longer hidden (-want +got):\n%s", diff)
		}
		stand(cause.Code, cause)
		stand(effect.Code)
		want["ConfigAmbiguous cause"], want["Cleared effect"] = 2, 1
		if diff := cmp.Diff(want, count()); diff != "" {
			t.Errorf("what ends while it is hidden (-want +got):\n%s", diff)
		}
	})
}

func TestHealthOfALoopThatHangs(t *testing.T) {
	at := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	turn := reconciler.Turn{At: at, Health: health.Report{State: health.Healthy, Ready: true, Conditions: []health.Condition{{Condition: condition.Condition{Code: condition.MarkShared}}}}}
	if report, live := turn.HealthAt(at.Add(reconciler.LiveFor - 1)); !live || !cmp.Equal(report.State, health.Healthy) || !report.Ready {
		t.Errorf("live %v, %+v", live, report)
	}
	report, live := turn.HealthAt(at.Add(reconciler.LiveFor))
	if live || report.State != health.Broken || report.Ready || len(report.Conditions) != 2 || report.Conditions[0].Code != condition.AgentStuck || !report.Conditions[0].Since.Equal(at) {
		t.Errorf("live %v, %+v", live, report)
	}
}
