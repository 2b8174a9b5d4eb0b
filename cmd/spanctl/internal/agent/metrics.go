package agent

import (
	"net/http"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/metrics"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

// MetricsPath is the path of the metrics, beside the API and at other addresses.
const MetricsPath = "/metrics"

// serveMetrics answers with the metrics of the agent.
func (s *service) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if err := s.runner.Running(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	s.metrics.ServeHTTP(w, r)
}

// measure returns what the metrics show, from the last turn of the loop and what was published: it
// does not wait for another one.
func measure(now time.Time, turn reconciler.Turn, store *resource.Store) metrics.State {
	report, _ := turn.HealthAt(now)
	s := metrics.State{Health: report, Sessions: turn.Sessions}
	for _, r := range store.List(resource.MachineConfigs) {
		s.ConfigApplied = r.Updated
		if c, is := r.Spec.(resource.MachineConfig); is {
			s.PerPeer = c.Machine.Metrics.PerPeer
		}
	}
	for _, r := range turn.Peers {
		status, is := r.Spec.(resource.PeerStatus)
		key, err := mesh.ParseKey(r.ID)
		if !is || err != nil {
			continue // not reached: the ID is the key
		}
		s.Peers = append(s.Peers, metrics.Peer{
			Key: key, Name: status.Name, NodeID: status.NodeID, State: status.State, Path: status.Path,
			RTT: time.Duration(status.SmoothedRTT), LastHandshake: status.LastHandshakeTime,
			ReceiveBytes: status.ReceiveBytes, TransmitBytes: status.TransmitBytes,
		})
	}
	return s
}
