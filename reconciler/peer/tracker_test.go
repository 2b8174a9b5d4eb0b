package peer

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

func specs(keys ...byte) []mesh.PeerSpec {
	list := make([]mesh.PeerSpec, len(keys))
	for i, k := range keys {
		list[i] = mesh.PeerSpec{PublicKey: mesh.Key{k}, NodeID: string('a' + rune(k)), Endpoints: []netip.AddrPort{one, two}}
	}
	return list
}

// upAt is a peer with a handshake and data at an endpoint.
func upAt(key byte, endpoint netip.AddrPort) Observed {
	return Observed{Key: mesh.Key{key}, Present: true, Endpoint: endpoint, LastHandshake: at(-1), ReceiveBytes: 100}
}

func commit(t *testing.T, tracker *Tracker, now time.Time, in Input, notDone ...byte) (changed []mesh.Key, lastGood bool) {
	t.Helper()
	failed := map[mesh.Key]bool{}
	for _, k := range notDone {
		failed[mesh.Key{k}] = true
	}
	transitions, lastGood := tracker.Commit(tracker.Next(now, in), failed)
	for _, tr := range transitions {
		changed = append(changed, tr.After.Key)
	}
	return changed, lastGood
}

func TestNextChangesNothing(t *testing.T) {
	var tracker Tracker
	in := Input{Specs: specs(1), Observed: []Observed{upAt(1, away)}}
	next := tracker.Next(start, in)
	if !next[0].IsUp() || len(tracker.Connections()) != 0 || len(tracker.LastGood()) != 0 {
		t.Errorf("next is %+v, the tracker has %+v and %v", next, tracker.Connections(), tracker.LastGood())
	}
}

func TestPeersAreMatchedByKey(t *testing.T) {
	var tracker Tracker
	commit(t, &tracker, start, Input{Specs: specs(2, 4, 6), Observed: []Observed{upAt(2, one), upAt(6, two)}})
	// 1 and 5 are new, 2 and 6 left, WireGuard still has 6.
	changed, _ := commit(t, &tracker, at(1), Input{Specs: specs(1, 4, 5), Observed: []Observed{upAt(4, away), upAt(6, two)}})
	if want := []mesh.Key{{1}, {4}, {5}}; !slices.Equal(changed, want) {
		t.Errorf("changed are %v, want %v", changed, want)
	}
	c := tracker.Connections()
	if c[0].IsUp() || !c[1].IsUp() || c[2].IsUp() || c[1].LastGood != away {
		t.Errorf("connections are %+v", c)
	}
	for hint, key := range []byte{1, 4, 5} {
		for _, h := range []int{hint, 0, 7} {
			if found := c.Find(mesh.Key{key}, h); found == nil || found.Key != (mesh.Key{key}) {
				t.Errorf("peer %d is not found with hint %d", key, h)
			}
		}
	}
	if c.Find(mesh.Key{2}, 0) != nil {
		t.Error("a peer that left is found")
	}
}

func TestPeerThatWasNotAppliedKeepsItsStatus(t *testing.T) {
	var tracker Tracker
	in := Input{Specs: specs(1), AlwaysInitiate: true}
	commit(t, &tracker, start, in, 1)
	if next := tracker.Next(at(1), in); next[0].Action.Endpoint != one {
		t.Errorf("a new peer that was not made is to have %v", next[0].Action.Endpoint)
	}
	commit(t, &tracker, at(1), in)
	in.Observed = []Observed{{Key: mesh.Key{1}, Present: true, Endpoint: one}}
	commit(t, &tracker, at(30), in, 1)
	if next := tracker.Next(at(31), in); next[0].Action.Endpoint != two {
		t.Errorf("an endpoint that was not set is followed by %v", next[0].Action.Endpoint)
	}
}

func TestLastGood(t *testing.T) {
	var tracker Tracker
	tracker.Restore(map[mesh.Key]netip.AddrPort{{1}: two})
	in := Input{Specs: specs(1)}
	if next := tracker.Next(start, in); next[0].Action.Endpoint != two {
		t.Errorf("the last good endpoint of an earlier process is not the first, but %v", next[0].Action.Endpoint)
	}
	in.Observed = []Observed{upAt(1, away)}
	if _, changed := commit(t, &tracker, start, in); !changed {
		t.Error("a new last good endpoint is not reported")
	}
	if _, changed := commit(t, &tracker, at(1), in); changed {
		t.Error("the same last good endpoint is reported again")
	}

	// The machine has a new key.
	renewed := specs(9)
	renewed[0].NodeID = in.Specs[0].NodeID
	in = Input{Specs: renewed}
	for _, second := range []int{2, 3} {
		if _, changed := commit(t, &tracker, at(second), in); changed != (second == 2) {
			t.Errorf("second %d: the last good endpoint is reported as changed: %v", second, changed)
		}
		if c := tracker.Connections()[0]; c.LastGood != away || c.Candidates[0] != away {
			t.Errorf("second %d: with a new key, the last good endpoint is %v, candidates %v", second, c.LastGood, c.Candidates)
		}
	}
	if want := (map[mesh.Key]netip.AddrPort{{1}: away, {9}: away}); !maps.Equal(tracker.LastGood(), want) {
		t.Errorf("last good are %v", tracker.LastGood())
	}
}

func TestMachinesThatLeftAreForgotten(t *testing.T) {
	many := map[mesh.Key]netip.AddrPort{}
	for i := range byte(maxDeparted + 2) {
		many[mesh.Key{100 + i}] = one
	}
	var tracker Tracker
	tracker.Restore(many)
	if _, changed := commit(t, &tracker, start, Input{}); changed || len(tracker.LastGood()) != len(many) {
		t.Error("without a mesh, last good endpoints are forgotten")
	}
	in := Input{Specs: specs(1), Observed: []Observed{upAt(1, one)}}
	if _, changed := commit(t, &tracker, at(1), in); !changed || len(tracker.LastGood()) != 1 {
		t.Errorf("last good are still %v", tracker.LastGood())
	}
}

func TestShift(t *testing.T) {
	var tracker Tracker
	in := Input{Specs: specs(1), Observed: []Observed{upAt(1, one)}}
	commit(t, &tracker, start, in)
	const hour = time.Hour
	tracker.Shift(hour)
	if next := tracker.Next(at(1).Add(hour), in); !next[0].IsUp() {
		t.Errorf("after a step of the clock: %+v", next[0])
	}
}

func TestAssignRelays(t *testing.T) {
	list := specs(1, 2, 3, 4)
	list[0].Relay, list[1].Relay = true, true
	for i := range list {
		list[i].Relays = []mesh.Key{{1}, {2}}
	}
	down := Status{State: Down, Rounds: 1, LastUsedEndpoint: one}
	connections := Connections{{Key: mesh.Key{1}, Status: Status{State: Up}}, {Key: mesh.Key{2}, Status: down},
		{Key: mesh.Key{3}, Status: down}, {Key: mesh.Key{4}, Status: Status{State: Unknown, LastUsedEndpoint: one}}}
	reached := connections.AssignRelays(Forwarding{Self: mesh.Key{9}}, list)
	if want := []mesh.Key{{1}}; !slices.Equal(reached, want) {
		t.Errorf("reached are %v, want %v", reached, want)
	}
	for i, want := range []mesh.Key{{}, {1}, {1}, {}} {
		if connections[i].Relay != want {
			t.Errorf("the relay of %v is %v, want %v", connections[i].Key, connections[i].Relay, want)
		}
	}
}
