package peer

import (
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// TestForwardingWherePacketsCanBeBlind has pairs that both ask for a member that forwards.
func TestForwardingWherePacketsCanBeBlind(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	forwarder, relay, other := mesh.Key{1}, mesh.Key{8}, mesh.Key{9}
	known := []mesh.BlindRelay{{Key: relay}}
	registered := []BlindRelay{{Key: relay}}
	for _, c := range []struct {
		name       string
		relays     []mesh.BlindRelay
		registered []BlindRelay
		probes     bool
		there      []mesh.Key
		seen       time.Duration
		want       bool
	}{
		{"a machine of an earlier version, at once", known, registered, false, nil, 0, true},
		{"no blind relay is known, at once", nil, nil, true, nil, 0, true},
		{"both share a blind relay", known, registered, true, []mesh.Key{relay}, time.Hour, false},
		{"both share a blind relay, and look for no paths", known, registered, false, []mesh.Key{relay}, time.Hour, false},
		{"each has another blind relay", known, registered, true, []mesh.Key{other}, time.Hour, true},
		{"the peer may still register", known, registered, true, nil, forwardAfter - 1, false},
		{"this machine may still register", known, nil, true, []mesh.Key{relay}, forwardAfter - 1, false},
		{"the peer does not reach the blind relay", known, registered, true, nil, forwardAfter, true},
		{"neither reaches it", known, nil, true, nil, forwardAfter, true},
	} {
		specs := []mesh.PeerSpec{{PublicKey: forwarder, Relay: true},
			{PublicKey: mesh.Key{2}, Relays: []mesh.Key{forwarder}, Probes: c.probes, Registered: c.there}}
		connections := Connections{{Key: forwarder, Status: Status{State: Up}},
			{Key: mesh.Key{2}, Status: Status{State: Down, Rounds: 1, FirstSeen: InstantOf(now.Add(-c.seen))}}}
		connections.AssignRelays(Forwarding{Now: now, Self: mesh.Key{7}, Relays: c.relays, Registered: c.registered}, specs)
		if got := connections[1].Relayed(); got != c.want {
			t.Errorf("%s: forwarded %t", c.name, got)
		}
	}
}
