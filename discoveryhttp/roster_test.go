package discoveryhttp

import (
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func named(id string) mesh.Affiliate { return mesh.Affiliate{NodeID: id} }

func known(r *roster) (ids []string) {
	for _, a := range r.affiliates() {
		ids = append(ids, a.NodeID)
	}
	return ids
}

func expect(t *testing.T, r *roster, want ...string) {
	t.Helper()
	if got := known(r); !slices.Equal(got, want) {
		t.Errorf("known are %v, want %v", got, want)
	}
}

func TestDeletionActsAtOnce(t *testing.T) {
	r := newRoster(nil)
	if !r.snapshot(start, []mesh.Affiliate{named("a"), named("b")}) {
		t.Error("a first snapshot is no news")
	}
	if !r.remove("a") || r.remove("a") {
		t.Error("the first removal is news, the second is not")
	}
	expect(t, r, "b")
	if r.set(start, named("b")) {
		t.Error("the same again is news")
	}
	changed := named("b")
	changed.Hostname = "new"
	if !r.set(start, changed) {
		t.Error("a change is no news")
	}
}

// TestServiceThatForgot has a service that started anew and has only one of two
// affiliates: the other has the rest of its TTL to come back.
func TestServiceThatForgot(t *testing.T) {
	r := newRoster(nil)
	r.snapshot(start, []mesh.Affiliate{named("a"), named("b")})
	r.disconnect(start.Add(10 * time.Minute))
	r.snapshot(start.Add(11*time.Minute), []mesh.Affiliate{named("a")})
	expect(t, r, "a", "b")
	if r.expire(start.Add(10*time.Minute + TTL - time.Second)); len(known(r)) != 2 {
		t.Error("forgotten before the TTL was over")
	}
	if !r.expire(start.Add(10*time.Minute + TTL)) {
		t.Error("not forgotten after the TTL")
	}
	expect(t, r, "a")
}

func TestWhoComesBackIsNotForgotten(t *testing.T) {
	r := newRoster([]Remembered{{named("a"), start}, {named("b"), start}})
	r.snapshot(start.Add(time.Hour), nil)
	expect(t, r, "a", "b") // long past their TTL, but just asked about
	r.set(start.Add(time.Hour+time.Second), named("a"))
	r.expire(start.Add(time.Hour + comeback))
	expect(t, r, "a")
	r.expire(start.Add(100 * time.Hour))
	expect(t, r, "a") // the service has it; only the service can say otherwise
}

func TestRememberedTimes(t *testing.T) {
	r := newRoster([]Remembered{{named("cached"), start}})
	r.snapshot(start.Add(time.Minute), []mesh.Affiliate{named("live")})
	for _, m := range r.remembered(start.Add(5 * time.Minute)) {
		want := map[string]time.Time{"cached": start, "live": start.Add(5 * time.Minute)}[m.Affiliate.NodeID]
		if !m.LastSeen.Equal(want) {
			t.Errorf("%s was last seen %v, want %v", m.Affiliate.NodeID, m.LastSeen, want)
		}
	}
	r.disconnect(start.Add(6 * time.Minute))
	for _, m := range r.remembered(start.Add(time.Hour)) {
		if m.Affiliate.NodeID == "live" && !m.LastSeen.Equal(start.Add(6*time.Minute)) {
			t.Errorf("last seen %v, when the connection broke at minute 6", m.LastSeen)
		}
	}
}
