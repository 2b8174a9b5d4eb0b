package agent

import (
	"net/http"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/metrics"
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

// measure returns what the metrics show, from what the last pass published: it does not wait for
// another one.
func (d *deps) measure() metrics.State {
	reported := d.engine.Reported()
	s := metrics.State{Health: reported.Health, Sessions: reported.Sessions}
	for _, r := range d.store.List(resource.MachineConfigs) {
		s.ConfigApplied = r.Updated
		if c, is := r.Spec.(resource.MachineConfig); is {
			s.PerPeer = c.Machine.Metrics.PerPeer
		}
	}
	for _, r := range d.store.List(resource.PeerStatuses) {
		status, is := r.Spec.(resource.PeerStatus)
		key, err := mesh.ParseKey(r.ID)
		if !is || err != nil {
			continue // not reached: the ID is the key
		}
		s.Peers = append(s.Peers, metrics.Peer{
			Key: key, Name: status.Name, NodeID: status.NodeID, State: status.State, Relayed: status.Relay != "",
			RTT: time.Duration(status.SmoothedRTT), LastHandshake: status.LastHandshakeTime,
			ReceiveBytes: status.ReceiveBytes, TransmitBytes: status.TransmitBytes,
		})
	}
	return s
}
