package discoveryhttp

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/reconciler/mesh"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func named(id string) published { return published{Affiliate: &mesh.Affiliate{NodeID: id}} }

// snapshot takes all that a service has, one by one, and reports whether that was news.
func snapshot(m *membership, now time.Time, all []published) (changed bool) {
	m.begin()
	for _, a := range all {
		changed = m.set(now, a) || changed
	}
	m.complete(now)
	return changed
}

// verify compares the deletions before a time with a list.
func verify(m *membership, begun time.Time, listed ...string) (back []string) {
	back = m.verify(begun, func(id string) bool { return slices.Contains(listed, id) })
	slices.Sort(back)
	return back
}

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
	if !snapshot(m, start, []published{named("a"), named("b")}) {
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
	snapshot(m, start, []published{named("a"), named("b")})
	m.disconnect(start.Add(10 * time.Minute))
	snapshot(m, start.Add(11*time.Minute), []published{named("a")})
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
	snapshot(m, start.Add(time.Hour), nil)
	expect(t, m, "a", "b") // past their TTL, but within returnTime
	m.set(start.Add(time.Hour+time.Second), named("a"))
	m.expire(start.Add(time.Hour + returnTime))
	expect(t, m, "a")
	m.expire(start.Add(100 * time.Hour))
	expect(t, m, "a") // the service has it and has not deleted it
}

func TestCachedTimes(t *testing.T) {
	m := newMembership([]cachedAffiliate{{Affiliate: named("cached").Affiliate, LastSeen: start}})
	snapshot(m, start.Add(time.Minute), []published{named("live")})
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
	snapshot(m, start, []published{named("a"), named("b"), named("c")})
	m.delete(start, "a", deletionGrace)
	m.delete(start, "b", deletionGrace)
	if m.delete(start, "unknown", deletionGrace) {
		t.Error("an unknown machine is reported as known")
	}
	m.set(start.Add(time.Second), named("a"))
	if back := verify(m, start.Add(time.Second), "c"); len(back) != 0 {
		t.Errorf("back are %v", back)
	}
	if _, changed := m.expire(start.Add(deletionGrace - 1)); changed {
		t.Error("forgotten too early")
	}
	expect(t, m, "a", "b", "c")
	if deleted, _ := m.expire(start.Add(deletionGrace)); !slices.Equal(deleted, []string{"b"}) {
		t.Errorf("deleted are %v, want b", deleted)
	}
	expect(t, m, "a", "c")
}

func TestDeletionHoldsWhenItIsConfirmed(t *testing.T) {
	later := start.Add(time.Minute)
	for name, c := range map[string]struct {
		confirm func(*membership)
		back    []string
		kept    bool
	}{
		"by nothing":                              {func(*membership) {}, nil, true},
		"by a list without it":                    {func(m *membership) { verify(m, later) }, nil, false},
		"by a list without it, from before":       {func(m *membership) { verify(m, start) }, nil, true},
		"by the snapshot of the next watch":       {func(m *membership) { snapshot(m, later, nil) }, nil, false},
		"the list has it":                         {func(m *membership) { verify(m, later, "a") }, []string{"a"}, true},
		"a list lacks it after one that had it":   {func(m *membership) { verify(m, later, "a"); verify(m, later) }, nil, false},
		"it is deleted again after the list":      {func(m *membership) { verify(m, later); m.delete(later, "a", 0) }, nil, true},
		"the next watch has it":                   {func(m *membership) { snapshot(m, later, []published{named("a")}) }, nil, true},
		"the snapshot of the next watch is begun": {func(m *membership) { m.begin() }, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMembership(nil)
			snapshot(m, start, []published{named("a")})
			m.delete(start, "a", deletionGrace)
			c.confirm(m)
			m.expire(later)
			if _, kept := m.entries["a"]; kept != c.kept {
				t.Errorf("kept %v, want %v", kept, c.kept)
			}
			if c.back != nil && !slices.Equal(verify(m, later, "a"), c.back) {
				t.Error("it is not reported as back")
			}
		})
	}
}

func TestDeletionHoldsInTheEnd(t *testing.T) {
	m := newMembership(nil)
	snapshot(m, start, []published{named("a")})
	m.delete(start, "a", deletionGrace)
	m.expire(start.Add(TTL - 1))
	expect(t, m, "a")
	if deleted, changed := m.expire(start.Add(TTL)); !changed || !slices.Equal(deleted, []string{"a"}) {
		t.Errorf("deleted are %v", deleted)
	}
}

// A machine that is missing in one part of a snapshot may be in the next.
func TestSnapshotInParts(t *testing.T) {
	m := newMembership(nil)
	snapshot(m, start, []published{named("a"), named("b"), named("gone")})
	m.disconnect(start)
	m.begin()
	m.set(start, named("b"))
	m.expire(start.Add(2 * TTL))
	expect(t, m, "a", "b", "gone")
	m.set(start, named("a"))
	m.complete(start)
	m.expire(start.Add(TTL))
	expect(t, m, "a", "b")
}

func TestReplacedMachineIsKeptForItsTTL(t *testing.T) {
	m := newMembership(nil)
	snapshot(m, start, []published{named("a")})
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
		return published{&mesh.Affiliate{NodeID: id, Hostname: host}, sequence}
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

// FuzzMembership plays what services send, and checks that a machine is known for as long as the
// service has it or has not surely deleted it, and no longer.
func FuzzMembership(f *testing.F) {
	f.Add([]byte{0, 1, 8, 0, 3, 0, 4, 0, 7, 255})           // in a snapshot, deleted, confirmed
	f.Add([]byte{2, 0, 3, 0, 5, 0, 7, 200, 7, 200, 7, 200}) // added, deleted, listed again
	f.Add([]byte{2, 0, 10, 0, 1, 0, 6, 9, 0, 0, 2, 1, 1, 9, 7, 255})
	f.Fuzz(func(t *testing.T, script []byte) {
		p := &player{m: newMembership(nil), now: start, machines: map[string]*played{}}
		script = script[:min(len(script), 500)]
		for len(script) >= 2 {
			p.play(script[0], script[1])
			p.check(t)
			script = script[2:]
		}
	})
}

// player plays a script on a membership, and keeps what it has to know by plainer means.
type player struct {
	m        *membership
	now      time.Time
	machines map[string]*played
	inParts  bool
}

// played is a machine of a script.
type played struct {
	// has is set while the service has it, and sent in the snapshot that is coming.
	has, sent bool
	// deletedAt is set while the service has deleted it, and sure when that is confirmed.
	deletedAt time.Time
	sure      bool
	// lostAt is when the service was found without it.
	lostAt time.Time
}

func (p *player) play(op, argument byte) {
	id := string('a' + rune(op>>3)%4)
	e := p.machines[id]
	switch op % 8 {
	case 0:
		p.m.begin()
		p.inParts = true
		for _, e := range p.machines {
			e.sent = false
		}
	case 1:
		p.complete()
	case 2:
		p.m.set(p.now, named(id))
		p.machines[id] = &played{has: true, sent: true}
	case 3:
		if p.m.delete(p.now, id, deletionGrace); e != nil {
			e.has, e.deletedAt, e.sure = false, p.now, false
		}
	case 4:
		p.m.verify(p.now, func(string) bool { return false })
		for _, e := range p.machines {
			e.sure = e.sure || !e.deletedAt.IsZero() && e.deletedAt.Before(p.now)
		}
	case 5:
		for _, back := range p.m.verify(p.now, func(listed string) bool { return listed == id }) {
			p.m.set(p.now, named(back))
			p.machines[back] = &played{has: true, sent: true}
		}
		for other, e := range p.machines {
			e.sure = e.sure || other != id && !e.deletedAt.IsZero() && e.deletedAt.Before(p.now)
		}
	case 6:
		p.m.disconnect(p.now)
	case 7:
		p.now = p.now.Add(time.Duration(argument) * 10 * time.Second)
	}
	p.m.expire(p.now)
	for id := range p.machines {
		if _, known := p.m.entries[id]; !known && p.mayGo(id) {
			delete(p.machines, id)
		}
	}
}

// complete ends a snapshot, if one was begun.
func (p *player) complete() {
	if !p.inParts {
		return
	}
	p.m.complete(p.now)
	p.inParts = false
	for _, e := range p.machines {
		if e.sent {
			continue
		}
		e.has = false
		if e.lostAt.IsZero() {
			e.lostAt = p.now
		}
		e.sure = true
	}
}

// mayGo reports whether a machine may be forgotten.
func (p *player) mayGo(id string) bool {
	e := p.machines[id]
	switch {
	case e.has:
		return false
	case !e.deletedAt.IsZero() && !p.now.Before(e.deletedAt.Add(TTL)):
		return true
	case !e.deletedAt.IsZero():
		return e.sure && !p.now.Before(e.deletedAt.Add(deletionGrace)) || e.sure && !e.lostAt.IsZero()
	default:
		return !e.lostAt.IsZero() && !p.now.Before(e.lostAt.Add(returnTime))
	}
}

func (p *player) check(t *testing.T) {
	t.Helper()
	for id, e := range p.machines {
		if _, known := p.m.entries[id]; !known {
			t.Fatalf("%s was forgotten too early: %+v at %v", id, *e, p.now.Sub(start))
		}
		if !e.has && p.now.After(maxTime(e.deletedAt, e.lostAt).Add(TTL+returnTime)) {
			t.Fatalf("%s is kept for good: %+v at %v", id, *e, p.now.Sub(start))
		}
	}
	if !slices.IsSortedFunc(p.m.affiliates(), func(a, b published) int { return strings.Compare(a.NodeID, b.NodeID) }) {
		t.Fatal("the affiliates are not sorted")
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// BenchmarkAffiliates is what a pass takes of a service that knows many machines, after one has changed.
func BenchmarkAffiliates(b *testing.B) {
	m := newMembership(nil)
	for i := range 5000 {
		m.set(time.Time{}, published{Affiliate: &mesh.Affiliate{NodeID: fmt.Sprintf("node-%d", i)}})
	}
	b.ReportAllocs()
	for b.Loop() {
		if list := mesh.Merge(newestOf([][]published{m.affiliates()})...); len(list) != 5000 {
			b.Fatal(len(list))
		}
	}
}

// TestCache has what is encoded read again, whatever parts of it there are.
func TestCache(t *testing.T) {
	rest := cacheRest{Newest: map[string]ledgerEntry{"a": {7, start}}, Sequence: 9}
	two := []cachedAffiliate{{&mesh.Affiliate{NodeID: "a", Hostname: "a\n"}, 7, start}, {&mesh.Affiliate{NodeID: "b"}, 0, start}}
	for _, want := range []cacheContent{{two, rest}, {two[:1], cacheRest{}}, {[]cachedAffiliate{}, rest}, {[]cachedAffiliate{}, cacheRest{}}} {
		data, err := encodeCache(want.Affiliates, want.cacheRest)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeCache(data)
		if !reflect.DeepEqual(got, want) || err != nil {
			t.Errorf("%s was read as %+v, %v", data, got, err)
		}
	}
	if got, err := decodeCache([]byte(`{"affiliates":[null,{}]}`)); err != nil || len(got.Affiliates) != 0 {
		t.Errorf("affiliates that are missing are read as %+v, %v", got, err)
	}
}
