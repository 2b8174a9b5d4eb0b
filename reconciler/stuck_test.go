package reconciler_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/resource"
)

// TestStuckLoopIsPublished has a registry that keeps a turn from ending.
func TestStuckLoopIsPublished(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		go r.WatchStuck(t.Context())
		state := func() string { return r.store.List(resource.HealthStates)[0].Spec.(resource.HealthState).State }
		setSlow := func(slow time.Duration) {
			r.registry.mu.Lock()
			defer r.registry.mu.Unlock()
			r.registry.slow = slow
		}
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		before := r.conditions()
		setSlow(3 * reconciler.LiveFor)
		r.Wake(reconciler.InputChanged)
		time.Sleep(2 * reconciler.LiveFor)
		synctest.Wait()
		if got := r.conditions(); !strings.HasPrefix(got, "AgentStuck\n") || state() != "broken" {
			t.Errorf("of a loop that is stuck: %q, %s", got, state())
		}
		setSlow(0)
		time.Sleep(20 * reconciler.LiveFor)
		synctest.Wait()
		if got := r.conditions(); got != before || state() != "healthy" {
			t.Errorf("of a loop that turns again: %q, %s; before: %q", got, state(), before)
		}
		reasons := map[string]bool{}
		for _, e := range r.store.List(resource.EventType) {
			reasons[e.Spec.(resource.Event).Reason] = true
		}
		if !reasons["AgentStuck"] || !reasons["Cleared"] {
			t.Errorf("the events are %v", reasons)
		}
	})
}
