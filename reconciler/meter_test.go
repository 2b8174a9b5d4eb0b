package reconciler_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/state"
)

// tally is a Meter whose counts have names.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (m *tally) count(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts[what]++
}

// take returns the counts and starts over.
func (m *tally) take() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := m.counts
	m.counts = map[string]int{}
	return counts
}

func (m *tally) Pass(took time.Duration, err error) {
	switch {
	case took < 0:
		m.count("pass of negative length")
	case err != nil:
		m.count("failed pass")
	default:
		m.count("pass")
	}
}

func (m *tally) Changed(kind string, action state.Action) { m.count(string(action) + " " + kind) }

func (m *tally) Repaired(kind string) { m.count("repair " + kind) }

func (m *tally) Recorded(reason string) { m.count("event " + reason) }

func (m *tally) Probed(mesh.Key) { m.count("probe") }

func (m *tally) Answered(_ mesh.Key, rtt time.Duration) { m.count("answer after " + rtt.String()) }

func TestWhatTheLoopDoesIsCounted(t *testing.T) {
	meter := &tally{counts: map[string]int{}}
	withLoopOf(t, func(e *reconciler.Engine) { e.Meter = meter }, func(t *testing.T, r *running) {
		if got := r.Last().Health; got.State != health.Starting || got.Ready {
			t.Errorf("before the first pass the health is %+v", got)
		}
		r.registry.learn(affiliate(1, "10.0.0.1:51820"))
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := meter.take(); got["create link"] != 1 || got["create peer"] != 1 || got["pass"] < 2 || got["failed pass"] != 0 {
			t.Errorf("the first passes count as %v", got)
		}
		if got := r.Last().Health; got.State != health.Healthy || got.Ready {
			t.Errorf("after a pass, before its peer is up, the health is %+v", got)
		}
		r.kernel.edit(func(s *state.State) { s.Peers[0].LastHandshake, s.Peers[0].ReceiveBytes = time.Now(), 100 })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := r.Last().Health; !got.Ready {
			t.Errorf("with its peer up the health is %+v", got)
		}
		meter.take()

		r.kernel.edit(func(s *state.State) { s.Rules = nil })
		r.Wake(reconciler.KernelChanged)
		time.Sleep(time.Second)
		synctest.Wait()
		got := meter.take()
		delete(got, "pass")
		rules := got["create rule"]
		if diff := cmp.Diff(map[string]int{"create rule": rules, "repair rule": rules, "event Repaired": rules}, got); diff != "" || rules == 0 {
			t.Errorf("a repair counts as %v (-want +got):\n%s", got, diff)
		}

		r.kernel.mu.Lock()
		r.kernel.replies = []peer.Reply{{Peer: mesh.Key{1}, RTT: time.Millisecond}}
		r.kernel.refuse = func(state.Change) bool { return true }
		r.kernel.mu.Unlock()
		r.kernel.edit(func(s *state.State) { s.Rules = nil })
		if _, err := r.SetConfig(t.Context(), config(t, "")); !errors.Is(err, errRefused) {
			t.Fatalf("the pass ends with %v", err)
		}
		if got := meter.take(); got["failed pass"] != 1 || got["answer after 1ms"] != 1 {
			t.Errorf("a failed pass with an answer counts as %v", got)
		}
	})
}

// TestKindsAreAllKinds describes a change of each type.
func TestKindsAreAllKinds(t *testing.T) {
	known := map[string]bool{}
	for _, kind := range planprint.Kinds {
		known[kind] = false
	}
	for _, c := range []state.Change{state.LinkChange{}, state.PeerChange{}, state.AddressChange{}, state.RouteChange{},
		state.RuleChange{}, state.FirewallChange{}, state.NetworksChange{}, state.ReversePathChange{}, state.IPv6Change{}} {
		kind := planprint.Describe(c).Kind
		if _, is := known[kind]; !is {
			t.Errorf("the kind %q of %T is not one of Kinds", kind, c)
		}
		known[kind] = true
	}
	for kind, found := range known {
		if !found {
			t.Errorf("no change is of the kind %q", kind)
		}
	}
}
