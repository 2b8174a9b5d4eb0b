package discoveryhttp

import (
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/reconciler/mesh"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func named(id string) published { return published{Affiliate: mesh.Affiliate{NodeID: id}} }

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

func TestMachineThatLeftIsForgottenAtOnce(t *testing.T) {
	m := newMembership(nil)
	if !m.snapshot(start, []published{named("a"), named("b")}) {
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
	m.snapshot(start, []published{named("a"), named("b")})
	m.disconnect(start.Add(10 * time.Minute))
	m.snapshot(start.Add(11*time.Minute), []published{named("a")})
	expect(t, m, "a", "b")
	if m.expire(start.Add(10*time.Minute + TTL - time.Second)); len(known(m)) != 2 {
		t.Error("forgotten before the TTL was over")
	}
	if deleted, changed := m.expire(start.Add(10*time.Minute + TTL)); !changed || len(deleted) != 0 {
		t.Errorf("not forgotten after the TTL, or deleted: %v", deleted)
	}
	expect(t, m, "a")
}

func TestAffiliateThatReturnsIsKept(t *testing.T) {
	m := newMembership([]cachedAffiliate{{Affiliate: named("a").Affiliate, LastSeen: start}, {Affiliate: named("b").Affiliate, LastSeen: start}})
	m.snapshot(start.Add(time.Hour), nil)
	expect(t, m, "a", "b") // past their TTL, but within returnTime
	m.set(start.Add(time.Hour+time.Second), named("a"))
	m.expire(start.Add(time.Hour + returnTime))
	expect(t, m, "a")
	m.expire(start.Add(100 * time.Hour))
	expect(t, m, "a") // the service has it and has not deleted it
}

func TestCachedTimes(t *testing.T) {
	m := newMembership([]cachedAffiliate{{Affiliate: named("cached").Affiliate, LastSeen: start}})
	m.snapshot(start.Add(time.Minute), []published{named("live")})
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

func TestDeletedMachineHasTimeToReturn(t *testing.T) {
	m := newMembership(nil)
	m.snapshot(start, []published{named("a"), named("b"), named("c")})
	m.delete(start, "a", deletionGrace)
	m.delete(start, "b", deletionGrace)
	m.delete(start, "unknown", deletionGrace)
	m.set(start.Add(time.Second), named("a"))
	if _, changed := m.expire(start.Add(deletionGrace - 1)); changed {
		t.Error("forgotten too early")
	}
	expect(t, m, "a", "b", "c")
	if deleted, _ := m.expire(start.Add(deletionGrace)); !slices.Equal(deleted, []string{"b"}) {
		t.Errorf("deleted are %v, want b", deleted)
	}
	expect(t, m, "a", "c")
}

func TestReplacedMachineIsKeptForItsTTL(t *testing.T) {
	m := newMembership(nil)
	m.snapshot(start, []published{named("a")})
	m.replaced(start.Add(time.Hour), "a")
	if _, has := m.current("a"); has {
		t.Error("the service still has the newest copy")
	}
	m.expire(start.Add(time.Hour + TTL - 1))
	expect(t, m, "a")
	m.expire(start.Add(time.Hour + TTL))
	expect(t, m)
}

func TestNewestCopyOfSeveralServices(t *testing.T) {
	one := func(id, host string, sequence payload.Sequence) published {
		return published{mesh.Affiliate{NodeID: id, Hostname: host}, sequence}
	}
	lists := newestOf([][]published{
		{one("a", "new", 2), one("b", "same", 5), one("talos", "", 0)},
		{one("a", "old", 1), one("b", "same", 5), one("talos", "", 0)},
	})
	for i, want := range [][]string{{"new", "same", ""}, {"same", ""}} {
		var got []string
		for _, a := range lists[i] {
			got = append(got, a.Hostname)
		}
		if !slices.Equal(got, want) {
			t.Errorf("of service %d are used %q, want %q", i, got, want)
		}
	}
}
