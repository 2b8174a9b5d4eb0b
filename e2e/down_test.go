package e2e_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestDownLeavesNothingBehind takes a mesh up and down between things of others,
// with an agent and without, and compares the whole network before and after.
func TestDownLeavesNothingBehind(t *testing.T) {
	scenario(t, "the mesh is taken down and leaves nothing behind")
	m := newMesh(t, 2)
	m.serve()
	node, other := m.machines[0], m.machines[1]
	node.neighbours()
	before := node.inventory()
	other.startAgent()
	check := func(t *testing.T) {
		t.Helper()
		if diff := cmp.Diff(before, node.inventory()); diff != "" {
			t.Errorf("the network before and after (-before +after):\n%s", diff)
		}
		if sockets := node.role("sockets"); sockets != "" {
			t.Errorf("WireGuard control sockets are left:\n%s", sockets)
		}
		if processes := node.role("processes"); processes != "" {
			t.Errorf("WireGuard processes are left:\n%s", processes)
		}
	}

	t.Run("with an agent", func(t *testing.T) {
		node.startAgent()
		node.awaitUp(1)
		if node.inventory() == before {
			t.Fatal("the mesh is up and nothing shows it")
		}
		node.run("down")
		check(t)
		if out := node.run("down"); out != "no changes\n" {
			t.Errorf("a second down did:\n%s", out)
		}
		if err := node.agent.Stop(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("without an agent", func(t *testing.T) {
		node.run("apply", "-f", node.Config(), "--immediate")
		node.run("down")
		check(t)
	})
	t.Run("after a stopped agent", func(t *testing.T) {
		node.startAgent()
		node.awaitUp(1)
		if err := node.agent.Stop(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		node.run("down")
		check(t)
		other.follow("kubespanpeerspecs", func(specs map[string]map[string]any) bool { return len(specs) == 0 })
	})
}

// TestWithoutAgents meshes two machines by commands alone.
func TestWithoutAgents(t *testing.T) {
	scenario(t, "two machines mesh without agents, by commands alone")
	m := newMesh(t, 2)
	m.serve()
	// The first publishes itself; the second learns of it, and the first, when
	// asked again, of the second.
	for _, machine := range []*machine{m.machines[0], m.machines[1], m.machines[0]} {
		machine.run("apply", "-f", machine.Config(), "--immediate")
	}
	address := m.machines[0].linkAddress()
	if _, err := m.machines[1].Ping(withPatience(t), address); err != nil {
		t.Error(err)
	}
	for _, machine := range m.machines {
		if o := machine.try("diff"); o.status != 0 {
			t.Errorf("diff: status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
	}

	t.Run("an agent takes over without losing a packet", func(t *testing.T) {
		pinging, err := m.machines[1].KeepPinging(withPatience(t), address)
		if err != nil {
			t.Fatal(err)
		}
		for _, machine := range m.machines {
			machine.startAgent()
		}
		m.awaitUp()
		if pings, err := pinging.Stop(); err != nil || pings.Lost() > 0 {
			t.Errorf("%d of %d pings were lost, %v", pings.Lost(), pings.Sent, err)
		}
	})
}
