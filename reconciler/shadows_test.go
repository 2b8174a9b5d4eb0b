package reconciler_test

import (
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// TestRulesThatComeFirstAreACondition has a rule of another program that leads packets elsewhere.
func TestRulesThatComeFirstAreACondition(t *testing.T) {
	engine, kernel, _ := newEngine()
	known, config := complete(affiliate(1, "10.0.0.1:51820")), config(t, "")
	known.Version = 1
	asked := 0
	kernel.trace = func(state.Path) state.Way {
		asked++
		return state.Way{Link: "eth0", Table: 101}
	}
	shadowed := func(c condition.Condition) bool { return c.Code == condition.RoutesShadowed }
	want := func(what string, at time.Duration, trigger reconciler.Trigger, found int) {
		t.Helper()
		pass, err := engine.RunFor(t.Context(), start.Add(at), config, known, trigger)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, c := range pass.Conditions {
			if shadowed(c) {
				n++
			}
		}
		if n != found {
			t.Errorf("%s: conditions are %v", what, pass.Conditions)
		}
	}
	want("no rule", 0, reconciler.Trigger{}, 0)
	if asked != 0 {
		t.Errorf("the kernel was asked about %d paths without a rule", asked)
	}
	kernel.edit(func(s *state.State) {
		s.Ahead = []state.ForeignRule{{Family: state.IPv4, Priority: 100, Table: 101}}
	})
	want("a rule", time.Second, reconciler.Trigger{}, 1)
	before := asked
	want("device only", 2*time.Second, reconciler.Trigger{DeviceOnly: true}, 1)
	if asked != before {
		t.Error("a pass that reads the device only asked the kernel")
	}
	pass, err := engine.Plan(start.Add(3*time.Second), config, known)
	if err != nil {
		t.Fatal(err)
	}
	if len(pass.Conditions) != 1 || !shadowed(pass.Conditions[0]) {
		t.Errorf("diff has the conditions %v", pass.Conditions)
	}
	kernel.edit(func(s *state.State) { s.Ahead = nil })
	want("the rule is gone", 4*time.Second, reconciler.Trigger{}, 0)
}
