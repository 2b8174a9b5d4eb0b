package e2e_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func TestThreeMachinesMesh(t *testing.T) {
	scenario(t, "three machines mesh")
	m := startMesh(t, 3)
	m.awaitUp()
	for _, from := range m.machines {
		for _, to := range m.machines {
			if from != to {
				from.ping(to.meshAddress())
				// The address on the shared network is routed into the mesh too.
				from.ping(to.Address)
			}
		}
		from.awaitClean()
		// Where it is to be the kernel's own WireGuard, nothing else will do.
		want := map[bool]string{false: "tuntap", true: "wireguard"}[inGuest()]
		if kind := from.linkKind(); kind != want {
			t.Errorf("the link of %s is a %s, want a %s", from.Name, kind, want)
		}
	}
}

// linkKind is the kind of the mesh's link.
func (m *machine) linkKind() (kind string) {
	m.t.Helper()
	err := m.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(meshLink)
		if err == nil {
			kind = link.Type()
		}
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return kind
}

// TestTenMachinesMesh also measures, where the processor is a real one, for a promise
// made to users: every peer is up within ten seconds of the start.
func TestTenMachinesMesh(t *testing.T) {
	scenario(t, "ten machines mesh")
	m := newMesh(t, 10)
	m.serve()
	began := time.Now()
	for _, machine := range m.machines {
		machine.startAgent()
	}
	m.awaitUp()
	took := time.Since(began)
	t.Logf("ten machines saw each other up %.1f s after the first start", took.Seconds())
	t.Run("within ten seconds", func(t *testing.T) {
		scenario(t, "ten machines mesh within ten seconds")
		if inGuest() {
			t.Skip("one emulated processor does the work of ten machines")
		}
		if took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	table := m.machines[0].run("get", "kubespanpeerstatuses")
	if n := strings.Count(table, "   up   "); n != 9 {
		t.Errorf("%d peers are shown as up, want 9:\n%s", n, table)
	}
}

// TestTenMachinesStayClean lets one thing after the other happen to a mesh of ten
// machines with the same config. After each, every machine is what it asks for.
func TestTenMachinesStayClean(t *testing.T) {
	scenario(t, "ten machines with one config: diff is clean on all after everything that happens")
	m := startMesh(t, 10)
	m.awaitUp()
	first, second, third := m.machines[0], m.machines[1], m.machines[2]
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"nothing", func() {}},
		{"a machine moves", func() { first.move(netip.MustParseAddr("172.20.0.201")) }},
		{"a link flaps", func() {
			second.setLink(false)
			second.setLink(true)
		}},
		{"a key is rotated", func() { third.run("rotate-key") }},
		{"an agent is killed", func() {
			first.killAgent()
			first.startAgent()
		}},
		{"discovery starts anew", func() {
			if err := m.server.Stop(sigterm); err != nil {
				t.Fatal(err)
			}
			m.serve()
		}},
		{"someone takes a rule away", func() { second.after(func() { second.role("delete-rules") }, "+ rule ipv6 32500") }},
		{"a machine leaves and comes back", func() {
			third.run("down")
			third.run("reload")
		}},
		{"the config changes everywhere", func() {
			for _, machine := range m.machines {
				machine.after(func() { machine.write(edit(m.config, "mtu: 1380, listenPort: 51999")) }, `"change applied" change=`)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.do()
			m.awaitUp()
			m.diffsAreClean()
			m.machines[9].ping(first.meshAddress())
		})
	}
}
