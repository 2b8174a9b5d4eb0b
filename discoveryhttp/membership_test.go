package discoveryhttp

import (
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func named(id string) mesh.Affiliate { return mesh.Affiliate{NodeID: id} }

func known(m *membership) (ids []string) {
	for _, a := range m.affiliates() {
		ids = append(ids, a.NodeID)
	}
	return ids
}

func expect(t *testing.T, m *membership, want ...string) {
	t.Helper()
	if got := known(m); !slices.Equal(got, want) {
		t.Errorf("known are %v, want %v", got, want)
	}
}

func TestDeletionTakesEffectAtOnce(t *testing.T) {
	m := newMembership(nil)
	if !m.snapshot(start, []mesh.Affiliate{named("a"), named("b")}) {
		t.Error("the first snapshot is reported as no change")
	}
	if !m.remove("a") || m.remove("a") {
		t.Error("want the first removal reported as a change, and the second not")
	}
	expect(t, m, "b")
	if m.set(start, named("b")) {
		t.Error("the same affiliate again is reported as a change")
	}
	changed := named("b")
	changed.Hostname = "new"
	if !m.set(start, changed) {
		t.Error("a new hostname is not reported as a change")
	}
}

// A service that was restarted has only one of two affiliates. The other one has the rest of
// its TTL to publish itself again.
func TestAffiliateThatAServiceLostIsKeptForItsTTL(t *testing.T) {
	m := newMembership(nil)
	m.snapshot(start, []mesh.Affiliate{named("a"), named("b")})
	m.disconnect(start.Add(10 * time.Minute))
	m.snapshot(start.Add(11*time.Minute), []mesh.Affiliate{named("a")})
	expect(t, m, "a", "b")
	if m.expire(start.Add(10*time.Minute + TTL - time.Second)); len(known(m)) != 2 {
		t.Error("forgotten before the TTL was over")
	}
	if !m.expire(start.Add(10*time.Minute + TTL)) {
		t.Error("not forgotten after the TTL")
	}
	expect(t, m, "a")
}

func TestAffiliateThatReturnsIsKept(t *testing.T) {
	m := newMembership([]cachedAffiliate{{named("a"), start}, {named("b"), start}})
	m.snapshot(start.Add(time.Hour), nil)
	expect(t, m, "a", "b") // past their TTL, but within returnTime
	m.set(start.Add(time.Hour+time.Second), named("a"))
	m.expire(start.Add(time.Hour + returnTime))
	expect(t, m, "a")
	m.expire(start.Add(100 * time.Hour))
	expect(t, m, "a") // the service has it and has not deleted it
}

func TestCachedTimes(t *testing.T) {
	m := newMembership([]cachedAffiliate{{named("cached"), start}})
	m.snapshot(start.Add(time.Minute), []mesh.Affiliate{named("live")})
	for _, c := range m.cached(start.Add(5 * time.Minute)) {
		want := map[string]time.Time{"cached": start, "live": start.Add(5 * time.Minute)}[c.Affiliate.NodeID]
		if !c.LastSeen.Equal(want) {
			t.Errorf("%s was last seen %v, want %v", c.Affiliate.NodeID, c.LastSeen, want)
		}
	}
	m.disconnect(start.Add(6 * time.Minute))
	for _, c := range m.cached(start.Add(time.Hour)) {
		if c.Affiliate.NodeID == "live" && !c.LastSeen.Equal(start.Add(6*time.Minute)) {
			t.Errorf("last seen %v, when the connection broke at minute 6", c.LastSeen)
		}
	}
}
