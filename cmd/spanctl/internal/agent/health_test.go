package agent

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

func TestHealthOfATurn(t *testing.T) {
	started := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	now := started.Add(time.Hour)
	turn := reconciler.Turn{At: now.Add(-reconciler.LiveFor + 1), Config: &schema.Config{},
		Mesh: reconciler.Mesh{Link: "kubespan", Hostname: "web1", Address: netip.MustParseAddr("fd00::1"), Port: 51820, MTU: 1420},
		Health: health.Report{State: health.Degraded, Ready: true, Conditions: []health.Condition{
			{Condition: condition.Condition{Code: condition.TableTaken, Level: condition.SeverityWarning}, Since: started}}}}
	turn.Peers = []resource.Resource{
		{ID: "b", Spec: resource.PeerStatus{Label: "vm", Name: "db2", State: peer.Up, Relay: "db1", Endpoint: netip.MustParseAddrPort("192.0.2.1:1")}},
		{ID: "a", Spec: resource.PeerStatus{Label: "vm", Name: "db1", State: peer.Down, RTT: resource.Duration(90 * time.Millisecond), SmoothedRTT: resource.Duration(20 * time.Millisecond), Loss: resource.PercentOf(25)}},
	}
	h := healthOf(now, started, turn)
	if h.GetState() != "degraded" || !h.GetReady() || !h.GetLive() || h.GetHostname() != "web1" || len(h.GetConditions()) != 1 {
		t.Errorf("got %v", h)
	}
	if c := h.GetConditions()[0]; c.GetSeverity() != "warning" || !c.GetSince().AsTime().Equal(started) || c.GetDoc() != "docs/conditions.md#tabletaken" {
		t.Errorf("the condition is %v", c)
	}
	if p := h.GetPeers(); len(p) != 2 || p[0].GetName() != "db1" || p[0].GetPath() != "" || p[0].GetRttSeconds() != 0.02 || p[0].GetLoss() != 0.25 || p[1].Loss != nil || p[1].RttSeconds != nil || p[1].GetPath() != "relay db1" {
		t.Errorf("the peers are %v", p)
	}

	turn.At = now.Add(-reconciler.LiveFor)
	h = healthOf(now, started, turn)
	if h.GetState() != "broken" || h.GetReady() || h.GetLive() || len(h.GetConditions()) != 2 || h.GetConditions()[0].GetCode() != string(condition.AgentStuck) {
		t.Errorf("after %v without a turn: %v", reconciler.LiveFor, h)
	}
}

func TestNoAgent(t *testing.T) {
	for _, test := range []struct {
		name          string
		left          []leftLink
		fault         error
		unit          bool
		cause, remedy string
	}{
		{"with a mesh", []leftLink{{"kubespan", 4}}, nil, true, "nobody answers at /s; the link kubespan with 4 peers is left as it is", "`systemctl start spanctl`"},
		{"without systemd", []leftLink{{"kubespan", 1}}, nil, false, "nobody answers at /s; the link kubespan with 1 peer is left as it is", "`spanctl run`"},
		{"with two meshes, one of which does not answer", []leftLink{{"a", 0}, {"b", -1}}, nil, true,
			"nobody answers at /s; the link a with 0 peers and the link b are left as they are", "`systemctl start spanctl`"},
		{"without a mesh", nil, nil, true, "nobody answers at /s; there is no mesh", "`systemctl start spanctl`"},
		{"without the right", nil, unix.EPERM, true, "nobody answers at /s; whether there is a mesh is for root to see", "`systemctl start spanctl`"},
		{"with another fault", nil, errors.New("no netlink"), true, "nobody answers at /s; whether there is a mesh cannot be read: no netlink", "`systemctl start spanctl`"},
	} {
		c := noAgent("/s", test.left, test.fault, test.unit)
		if c.Code != condition.NoAgent || c.Cause != test.cause || c.Remedy != test.remedy {
			t.Errorf("%s: %v", test.name, c)
		}
	}
}

func TestHasUnit(t *testing.T) {
	root := t.TempDir()
	unit := filepath.Join(root, "usr/lib/systemd/system/spanctl.service")
	if err := os.MkdirAll(filepath.Dir(unit), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(unit, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if HasUnit(root) {
		t.Error("systemd does not run")
	}
	if err := os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	if !HasUnit(root) {
		t.Error("the unit is not found")
	}
	if err := os.Remove(unit); err != nil {
		t.Fatal(err)
	}
	if HasUnit(root) {
		t.Error("there is no unit")
	}
}

func TestRelaysAreNoPeersOfALink(t *testing.T) {
	network := []netip.Prefix{netip.MustParsePrefix("fd00::1/128")}
	if n := machinesAmong([]state.Peer{{AllowedIPs: network}, {Keepalive: state.RelayKeepalive}, {PresharedKey: mesh.SecretKey([mesh.KeySize]byte{1})}}); n != 2 {
		t.Errorf("%d", n)
	}
}

func TestHealthHasTheOfferedRelay(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	turn := reconciler.Turn{At: now, Health: health.Report{Offered: health.OfferedRelay{Port: 51821, Members: 3, Registered: 2}}}
	if o := healthOf(now, now, turn).GetOfferedRelay(); o.GetPort() != 51821 || o.GetMembers() != 3 || o.GetRegistered() != 2 {
		t.Errorf("it is %v", o)
	}
	turn.Health.Offered = health.OfferedRelay{}
	if o := healthOf(now, now, turn).GetOfferedRelay(); o != nil {
		t.Errorf("without one: %v", o)
	}
}
