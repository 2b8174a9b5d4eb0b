package reconciler_test

import (
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// TestDroppedPacketsAreACondition has packets that are dropped instead of leaving in clear.
func TestDroppedPacketsAreACondition(t *testing.T) {
	engine, kernel, _ := newEngine()
	known, config := complete(affiliate(1, "10.0.0.1:51820")), config(t, "")
	known.Version = 1
	dropped := uint64(0)
	drop := func(n uint64) {
		dropped += n
		kernel.edit(func(s *state.State) { s.Firewall.Dropped.Marked = dropped })
	}
	pass := func(what string, at time.Duration, trigger reconciler.Trigger, found bool) {
		t.Helper()
		pass, err := engine.RunFor(t.Context(), start.Add(at), config, known, trigger)
		if err != nil {
			t.Fatal(err)
		}
		rewritten := func(c condition.Condition) bool { return c.Code == condition.MarkRewritten }
		if slices.ContainsFunc(pass.Conditions, rewritten) != found {
			t.Errorf("%s: conditions are %v", what, pass.Conditions)
		}
	}
	drop(40)
	pass("the mesh is made", 0, reconciler.Trigger{}, false)
	drop(40)
	pass("what was dropped before", 30*time.Second, reconciler.Trigger{}, false)
	pass("nothing more", 60*time.Second, reconciler.Trigger{}, false)
	drop(40)
	pass("the device only", 61*time.Second, reconciler.Trigger{DeviceOnly: true}, false)
	pass("too soon to tell", 62*time.Second, reconciler.Trigger{}, false)
	pass("packets are dropped", 90*time.Second, reconciler.Trigger{}, true)
	pass("the last finding holds", 95*time.Second, reconciler.Trigger{}, true)
	pass("nothing was dropped since", 100*time.Second, reconciler.Trigger{DeviceOnly: true}, false)
	pass("nothing is looked for", 120*time.Second, reconciler.Trigger{}, false)
	drop(40)
	kernel.edit(func(s *state.State) { s.Rules = nil })
	pass("the rules are missing", 150*time.Second, reconciler.Trigger{}, false)
	drop(40)
	pass("they were, until then", 180*time.Second, reconciler.Trigger{}, false)
	drop(40)
	pass("packets are dropped again", 210*time.Second, reconciler.Trigger{}, true)

	// What a rule of another program leads elsewhere has its mark, and is named by the rule.
	unmarked := uint64(0)
	lead := func(n uint64) {
		unmarked += n
		kernel.edit(func(s *state.State) { s.Firewall.Dropped.Unmarked = unmarked })
	}
	shadow := func(rules ...state.ForeignRule) { kernel.edit(func(s *state.State) { s.Ahead = rules }) }
	kernel.trace = func(state.Path) state.Way { return state.Way{Link: "eth0", Table: 101} }
	shadow(state.ForeignRule{Family: state.IPv4, Priority: 100, Table: 101, Destination: state.Ports{First: 25, Last: 25}})
	lead(40)
	pass("a rule leads packets elsewhere", 240*time.Second, reconciler.Trigger{}, false)
	lead(40)
	drop(40)
	pass("and another program sets marks", 270*time.Second, reconciler.Trigger{}, true)
	lead(40)
	shadow()
	pass("the rule is gone since", 300*time.Second, reconciler.Trigger{}, false)
	lead(40)
	pass("marks are removed", 330*time.Second, reconciler.Trigger{}, true)

	pass("nothing more is dropped", 360*time.Second, reconciler.Trigger{}, false)
	shadow(state.ForeignRule{Family: state.IPv4, Priority: 100, Table: 101, Destination: state.Ports{First: 25, Last: 25}})
	pass("a rule is there, too soon to tell", 362*time.Second, reconciler.Trigger{}, false)
	lead(40)
	shadow()
	pass("it is gone, too soon to tell", 364*time.Second, reconciler.Trigger{}, false)
	pass("it was there for a while", 380*time.Second, reconciler.Trigger{}, false)
	lead(40)
	pass("marks are removed again", 400*time.Second, reconciler.Trigger{}, true)
}
