package healthtext

import (
	"flag"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/golden"
	"github.com/spanmesh/span/cmd/spanctl/internal/healthtext/healthtest"
	"github.com/spanmesh/span/reconciler/human"
)

var update = flag.Bool("update", false, "write the golden files in testdata")

// TestStatusText compares the human form of states with testdata/status.
func TestStatusText(t *testing.T) {
	for _, test := range []struct {
		name   string
		view   View
		change func(h *agentpb.GetHealthResponse)
	}{
		{"healthy", View{}, func(*agentpb.GetHealthResponse) {}},
		{"healthy-colour", View{Color: true}, func(*agentpb.GetHealthResponse) {}},
		{"healthy-60-columns", View{Width: 60}, func(h *agentpb.GetHealthResponse) {
			h.Peers[0].Path = "[2001:db8:1234:5678:9abc:def0:1234:5678]:51820"
			h.Peers[1].Name = "a-database-with-a-long-name.example.com"
		}},
		{"behind-nat", View{}, func(h *agentpb.GetHealthResponse) {
			h.Mesh.Nat, h.Mesh.MappedAddress, h.Mesh.MappedPorts = "independent", "203.0.113.9", []uint32{40000}
		}},
		{"behind-nat-with-many-ports", View{}, func(h *agentpb.GetHealthResponse) {
			h.Mesh.Nat, h.Mesh.MappedAddress = "dependent", "203.0.113.9"
		}},
		{"behind-nat-that-maps-the-port", View{}, func(h *agentpb.GetHealthResponse) {
			h.Mesh.Nat, h.Mesh.MappedAddress = "dependent", "203.0.113.9"
			h.Mesh.PortMappings = []*agentpb.PortMapping{{Endpoint: "203.0.113.9:40001", Protocol: "PCP"}}
		}},
		{"behind-relays", View{Width: 100}, func(h *agentpb.GetHealthResponse) {
			h.Mesh.Nat, h.Mesh.MappedAddress = "dependent", "203.0.113.9"
			h.Mesh.PortMappings = []*agentpb.PortMapping{{Endpoint: "100.64.7.1:40001", Protocol: "NAT-PMP", BehindNat: true}}
			h.Relays = []*agentpb.BlindRelay{{Name: "relay.example.com", Registered: true}, {Name: "tcp.example.com", Registered: true, OverTcp: true}, {Name: "gone.example.com"}}
			const dependent = "both NATs use another port for each destination"
			h.Peers[0].PathKind = "punched"
			h.Peers[1] = &agentpb.Peer{Name: "db2", State: "up", Path: "blind relay relay.example.com", PathKind: "blind-relay", NotDirect: dependent}
			h.Peers = append(h.Peers, &agentpb.Peer{Name: "db3", State: "up", Path: "blind relay tcp.example.com", PathKind: "blind-relay-tcp",
				NotDirect: "neither a server nor a peer has answered over UDP: a firewall may block it"})
			for i := range 6 {
				h.Peers = append(h.Peers, &agentpb.Peer{Name: fmt.Sprintf("web%d", i), State: "up", Path: "blind relay relay.example.com", PathKind: "blind-relay", NotDirect: dependent})
			}
		}},
		{"is-a-relay", View{}, func(h *agentpb.GetHealthResponse) {
			h.OfferedRelay = &agentpb.OfferedRelay{Port: 51821, Members: 3, Registered: 2}
		}},
		{"info", View{}, func(h *agentpb.GetHealthResponse) {
			h.Conditions = []*agentpb.Condition{{Code: "ConfigOnTrial", Severity: "info", Cause: "the one before returns in 1m 40s",
				Remedy: "`spanctl confirm` keeps it", Since: healthtest.Ago(20 * time.Second)}}
		}},
		{"degraded", View{}, func(h *agentpb.GetHealthResponse) {
			h.State, h.Conditions = "degraded", []*agentpb.Condition{healthtest.Unreachable}
			h.Peers[1] = &agentpb.Peer{Name: "db2", State: "down", Path: "198.51.100.7:51820", TransmittedBytes: 7992}
		}},
		{"broken-colour-50-columns", View{Width: 50, Color: true}, func(h *agentpb.GetHealthResponse) {
			h.State, h.Ready, h.Conditions = "broken", false, []*agentpb.Condition{healthtest.Blocked, healthtest.Unreachable}
		}},
		{"many", View{}, func(h *agentpb.GetHealthResponse) {
			h.State = "degraded"
			for i := range 100 {
				c := proto.CloneOf(healthtest.Unreachable)
				c.Subject = fmt.Sprintf("db%02d", i)
				h.Conditions = append(h.Conditions, c)
			}
		}},
		{"starting", View{}, func(h *agentpb.GetHealthResponse) {
			*h = agentpb.GetHealthResponse{State: "starting", Version: "v0.3.0", Hostname: "web1", Time: h.GetTime(), Started: healthtest.Ago(time.Second)}
		}},
		{"no-peer-yet", View{}, func(h *agentpb.GetHealthResponse) {
			h.State, h.Ready, h.Started = "starting", false, healthtest.Ago(2*time.Second)
			h.Peers = []*agentpb.Peer{{Name: "db1", State: "unknown", Path: "203.0.113.9:51820", TransmittedBytes: 148}}
		}},
		{"discovery-lost", View{}, func(h *agentpb.GetHealthResponse) {
			h.Discovery = []*agentpb.DiscoverySession{
				{Endpoint: "https://disc.example.com/", Since: healthtest.Ago(4 * time.Minute), LastHeard: healthtest.Ago(244 * time.Second), Error: "connection refused"},
				{Endpoint: "https://10.0.0.1:6443/", Since: healthtest.Ago(4 * time.Minute), Error: "no route to host"},
			}
		}},
		{"hostile", View{}, func(h *agentpb.GetHealthResponse) {
			h.Peers[0].Name = "\x1b[31mdb1\n"
			h.State, h.Conditions = "degraded", []*agentpb.Condition{{Code: "PeerDown", Severity: "warning", Subject: "\x1b]0;x\a", Cause: "a\rb", Remedy: "c\td"}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := healthtest.Sample()
			test.change(h)
			test.view.Zone = time.UTC
			got := test.view.Text(h)
			golden.Compare(t, filepath.Join("testdata", "status", test.name+".txt"), got, *update)
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
		if got := RTT(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
