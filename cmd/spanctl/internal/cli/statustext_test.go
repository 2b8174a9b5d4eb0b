package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/reconciler/human"
)

var update = flag.Bool("update", false, "write the golden files in testdata")

// statusAt is the time of the golden files.
var statusAt = time.Date(2026, 11, 28, 20, 46, 0, 0, time.UTC)

func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(statusAt.Add(-d)) }

// sampleHealth is a healthy mesh of three.
func sampleHealth() *agentpb.GetHealthResponse {
	return &agentpb.GetHealthResponse{
		ApiVersion: "spanctl/v1", State: "healthy", Ready: true, Live: true, Version: "v0.3.0", Hostname: "web1",
		Time: timestamppb.New(statusAt), Started: ago(76*time.Hour + 12*time.Minute),
		Mesh:    &agentpb.Mesh{Link: "kubespan", Address: "fd89:33b8::8c41", Port: 51820, Mtu: 1420, Wireguard: "kernel"},
		Cluster: &agentpb.Cluster{Fingerprint: "7f3a-91c0", Machines: 3},
		Discovery: []*agentpb.DiscoverySession{{Registry: "service", Endpoint: "https://disc.example.com/", Connected: true,
			Since: ago(72 * time.Hour), LastHeard: ago(12 * time.Second)}},
		Config: &agentpb.ConfigInForce{Path: "/etc/spanctl/machine.cue", Since: ago(76 * time.Hour)},
		Peers: []*agentpb.Peer{
			{Name: "db1", PublicKey: "a", State: "up", Path: "203.0.113.9:51820", RttSeconds: proto.Float64(0.0112), Loss: proto.Float64(0),
				LastHandshake: ago(41 * time.Second), ReceivedBytes: 1.2 * (1 << 30), TransmittedBytes: 310 << 20},
			{Name: "db2", PublicKey: "b", State: "up", Path: "relay db1", RttSeconds: proto.Float64(0.0239), Loss: proto.Float64(0),
				LastHandshake: ago(62 * time.Second), ReceivedBytes: 8.1 * (1 << 20), TransmittedBytes: 2 << 20},
		},
	}
}

var unreachable = &agentpb.Condition{Code: "PeerUnreachable", Severity: "warning", Subject: "db2", Since: ago(4 * time.Minute),
	Cause: "54 handshakes sent to 2 endpoints of db2, nothing came; others answer", Remedy: "open UDP 51820 at db2"}

var blocked = &agentpb.Condition{Code: "UDPBlocked", Severity: "error", Since: ago(30 * time.Second),
	Cause: "54 handshakes sent to 4 peers, nothing came", Remedy: "open UDP 51820 here and on the router"}

// TestStatusText compares the human form of states with testdata/status.
func TestStatusText(t *testing.T) {
	for _, test := range []struct {
		name   string
		view   statusView
		change func(h *agentpb.GetHealthResponse)
	}{
		{"healthy", statusView{}, func(*agentpb.GetHealthResponse) {}},
		{"healthy-colour", statusView{color: true}, func(*agentpb.GetHealthResponse) {}},
		{"healthy-60-columns", statusView{width: 60}, func(h *agentpb.GetHealthResponse) {
			h.Peers[0].Path = "[2001:db8:1234:5678:9abc:def0:1234:5678]:51820"
			h.Peers[1].Name = "a-database-with-a-long-name.example.com"
		}},
		{"info", statusView{}, func(h *agentpb.GetHealthResponse) {
			h.Conditions = []*agentpb.Condition{{Code: "ConfigOnTrial", Severity: "info", Cause: "the one before returns in 1m 40s",
				Remedy: "`spanctl confirm` keeps it", Since: ago(20 * time.Second)}}
		}},
		{"degraded", statusView{}, func(h *agentpb.GetHealthResponse) {
			h.State, h.Conditions = "degraded", []*agentpb.Condition{unreachable}
			h.Peers[1] = &agentpb.Peer{Name: "db2", State: "down", Path: "198.51.100.7:51820", TransmittedBytes: 7992}
		}},
		{"broken-colour-50-columns", statusView{width: 50, color: true}, func(h *agentpb.GetHealthResponse) {
			h.State, h.Ready, h.Conditions = "broken", false, []*agentpb.Condition{blocked, unreachable}
		}},
		{"many", statusView{}, func(h *agentpb.GetHealthResponse) {
			h.State = "degraded"
			for i := range 100 {
				c := proto.CloneOf(unreachable)
				c.Subject = fmt.Sprintf("db%02d", i)
				h.Conditions = append(h.Conditions, c)
			}
		}},
		{"starting", statusView{}, func(h *agentpb.GetHealthResponse) {
			*h = agentpb.GetHealthResponse{State: "starting", Version: "v0.3.0", Hostname: "web1", Time: h.GetTime(), Started: ago(time.Second)}
		}},
		{"discovery-lost", statusView{}, func(h *agentpb.GetHealthResponse) {
			h.Discovery = []*agentpb.DiscoverySession{
				{Endpoint: "https://disc.example.com/", Since: ago(4 * time.Minute), LastHeard: ago(244 * time.Second), Error: "connection refused"},
				{Endpoint: "https://10.0.0.1:6443/", Since: ago(4 * time.Minute), Error: "no route to host"},
			}
		}},
		{"hostile", statusView{}, func(h *agentpb.GetHealthResponse) {
			h.Peers[0].Name = "\x1b[31mdb1\n"
			h.State, h.Conditions = "degraded", []*agentpb.Condition{{Code: "PeerDown", Severity: "warning", Subject: "\x1b]0;x\a", Cause: "a\rb", Remedy: "c\td"}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := sampleHealth()
			test.change(h)
			test.view.zone = time.UTC
			got := test.view.text(h)
			path := filepath.Join("testdata", "status", test.name+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got (go test -update writes it):\n%s", diff)
			}
		})
	}
}

func TestAgeText(t *testing.T) {
	for _, test := range []struct {
		age  time.Duration
		want string
	}{
		{-time.Second, "0s"}, {0, "0s"}, {999 * time.Millisecond, "0s"}, {41 * time.Second, "41s"}, {62 * time.Second, "1m 2s"},
		{4 * time.Minute, "4m"}, {76 * time.Hour, "3d 4h"}, {72 * time.Hour, "3d"}, {72*time.Hour + time.Minute, "3d"},
	} {
		if got := human.Duration(test.age); got != test.want {
			t.Errorf("%v is %q, want %q", test.age, got, test.want)
		}
	}
}

func TestRTTText(t *testing.T) {
	for d, want := range map[time.Duration]string{380 * time.Microsecond: "0.4ms", 9960 * time.Microsecond: "10ms", 11200 * time.Microsecond: "11ms",
		999600 * time.Microsecond: "1.0s", 1240 * time.Millisecond: "1.2s"} {
		if got := rttText(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestExitsOfStates(t *testing.T) {
	for state, want := range map[string]int{"healthy": 0, "starting": 1, "degraded": 1, "broken": 2, "no agent": 3, "": 3} {
		if got := exitOf(state); got != want {
			t.Errorf("%q exits with %d, want %d", state, got, want)
		}
	}
}
