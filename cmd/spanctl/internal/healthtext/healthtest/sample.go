// Package healthtest has answers of GetHealth for tests.
package healthtest

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

// At is the time of the answers.
var At = time.Date(2026, 11, 28, 20, 46, 0, 0, time.UTC)

// Ago returns a time before At.
func Ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(At.Add(-d)) }

// Sample returns the health of a healthy mesh of three.
func Sample() *agentpb.GetHealthResponse {
	return &agentpb.GetHealthResponse{
		ApiVersion: "spanctl/v1", State: "healthy", Ready: true, Live: true, Version: "v0.3.0", Hostname: "web1",
		Time: timestamppb.New(At), Started: Ago(76*time.Hour + 12*time.Minute),
		Mesh:    &agentpb.Mesh{Link: "kubespan", Address: "fd89:33b8::8c41", Port: 51820, Mtu: 1420, Wireguard: "kernel"},
		Cluster: &agentpb.Cluster{Fingerprint: "7f3a-91c0", Machines: 3},
		Discovery: []*agentpb.DiscoverySession{{Registry: "service", Endpoint: "https://disc.example.com/", Connected: true,
			Since: Ago(72 * time.Hour), LastHeard: Ago(12 * time.Second)}},
		Config: &agentpb.ConfigInForce{Path: "/etc/spanctl/machine.cue", Since: Ago(76 * time.Hour)},
		Peers: []*agentpb.Peer{
			{Name: "db1", PublicKey: "a", State: "up", Path: "203.0.113.9:51820", RttSeconds: proto.Float64(0.0112), Loss: proto.Float64(0),
				LastHandshake: Ago(41 * time.Second), ReceivedBytes: 1.2 * (1 << 30), TransmittedBytes: 310 << 20},
			{Name: "db2", PublicKey: "b", State: "up", Path: "relay db1", Relay: "db1", RttSeconds: proto.Float64(0.0239), Loss: proto.Float64(0),
				LastHandshake: Ago(62 * time.Second), ReceivedBytes: 8.1 * (1 << 20), TransmittedBytes: 2 << 20},
		},
	}
}

// Unreachable is a warning about a peer of Sample.
var Unreachable = &agentpb.Condition{Code: "PeerUnreachable", Severity: "warning", Subject: "db2", Since: Ago(4 * time.Minute),
	Cause: "54 handshakes sent to 2 endpoints of db2, nothing came; others answer", Remedy: "open UDP 51820 at db2"}

// Blocked is an error.
var Blocked = &agentpb.Condition{Code: "UDPBlocked", Severity: "error", Since: Ago(30 * time.Second),
	Cause: "54 handshakes sent to 4 peers, nothing came", Remedy: "open UDP 51820 here and on the router"}
