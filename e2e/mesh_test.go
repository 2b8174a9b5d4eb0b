package e2e_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

func TestThreeMachinesMesh(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "three machines mesh")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	for _, from := range m.Machines {
		for _, to := range m.Machines {
			if from != to {
				from.Packets.Ping(to.API.MeshAddress())
				// The address on the shared network is routed into the mesh as well.
				from.Packets.Ping(to.Address)
			}
		}
		from.CLI.AwaitNoDiff()
		// In the guest, only the kernel's own WireGuard counts.
		want := map[bool]string{false: "tuntap", true: "wireguard"}[harness.InGuest()]
		if kind := from.Net.LinkKind(); kind != want {
			t.Errorf("the link of %s is a %s, want a %s", from.Name, kind, want)
		}
	}
}

func TestTenMachinesMesh(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "ten machines mesh")
	m := harness.StartMesh(t, 10)
	m.AwaitUp()
	table := m.Machines[0].CLI.Run("get", "kubespanpeerstatuses")
	if n := strings.Count(table, "   up   "); n != 9 {
		t.Errorf("%d peers are shown as up, want 9:\n%s", n, table)
	}
}

// TestTenMachinesStayClean makes one change after the other in a mesh of ten machines.
// After each, `spanctl diff` is empty on all.
func TestTenMachinesStayClean(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "ten machines with one config: diff is empty on all after each of many changes")
	m := harness.StartMesh(t, 10)
	m.AwaitUp()
	first, second, third := m.Machines[0], m.Machines[1], m.Machines[2]
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"nothing", func() {}},
		{"a machine moves", func() { first.Net.ChangeAddress(netip.MustParseAddr("172.20.0.201")) }},
		{"a link flaps", func() {
			second.Net.SetLink(false)
			second.Net.SetLink(true)
		}},
		{"a key is rotated", func() { third.CLI.Run("rotate-key") }},
		{"an agent is killed", func() {
			first.Agent.Kill()
			first.Agent.Start()
		}},
		{"the discovery server restarts", func() {
			m.Server.Terminate()
			m.Serve()
		}},
		{"another program deletes a rule", func() { second.Agent.AwaitAfter(func() { second.Exec.Nodecmd("delete-rules") }, "+ rule ipv6 32500") }},
		{"a machine leaves and comes back", func() {
			third.CLI.Run("down")
			third.CLI.Run("reload")
		}},
		{"the config changes everywhere", func() {
			for _, machine := range m.Machines {
				machine.Agent.AwaitAfter(func() { machine.Files.WriteConfig(harness.Edit(m.Config, "mtu: 1380, listenPort: 51999")) }, "~ link kubespan: ")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.do()
			m.AwaitUp()
			m.AwaitNoDiff()
			m.Machines[9].Packets.Ping(first.API.MeshAddress())
		})
	}
}
