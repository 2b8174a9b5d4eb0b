package agent

import (
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
)

// TestMetricsAgreeWithTheStatus has a loop that turns, and one that hangs.
func TestMetricsAgreeWithTheStatus(t *testing.T) {
	now := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	turn := reconciler.Turn{At: now, Health: health.Report{State: health.Healthy, Ready: true},
		Sessions: []health.Session{{Registry: "service", URL: "https://d", State: health.Connected}},
		Peers:    []resource.Resource{{ID: mesh.Key{1}.String(), Spec: resource.PeerStatus{Label: "db1", State: peer.Up}}}}
	for _, test := range []struct {
		age        time.Duration
		state      health.State
		conditions []condition.Code
	}{
		{reconciler.LiveFor - 1, health.Healthy, nil},
		{reconciler.LiveFor, health.Broken, []condition.Code{condition.AgentStuck}},
	} {
		at := now.Add(test.age)
		status, shown := healthOf(at, now, turn), measure(at, turn, &resource.Store{})
		if shown.Health.State != test.state || shown.Health.Ready != (test.state == health.Healthy) || len(shown.Health.Conditions) != len(test.conditions) {
			t.Errorf("%v after a turn the metrics have %+v", test.age, shown.Health)
		}
		if status.GetState() != string(shown.Health.State) || status.GetReady() != shown.Health.Ready || len(status.GetConditions()) != len(shown.Health.Conditions) ||
			len(status.GetPeers()) != len(shown.Peers) || len(status.GetDiscovery()) != len(shown.Sessions) {
			t.Errorf("%v after a turn the status is %v, the metrics have %+v", test.age, status, shown)
		}
		for i, code := range test.conditions {
			if got := shown.Health.Conditions[i].Code; got != code {
				t.Errorf("%v after a turn the metrics have %s, want %s", test.age, got, code)
			}
		}
	}
}
