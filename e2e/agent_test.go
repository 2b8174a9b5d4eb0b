package e2e_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKilledAgentLeavesTrafficAlone(t *testing.T) {
	scenario(t, "the agent is killed and started again, and no packet is lost")
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	m.keepPinging(func() {
		node.killAgent()
		// The others still see the machine, and its tunnels carry on.
		m.machines[1].ping(node.Address)
		node.startAgent()
		node.awaitUp(1)
		node.awaitClean()
	})
}

// TestKilledAgentForgetsNoTunnel kills an agent that has not written down yet
// what it learned, and starts it while discovery is away.
func TestKilledAgentForgetsNoTunnel(t *testing.T) {
	scenario(t, "the agent is killed before it wrote anything down, and starts without discovery")
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	m.keepPinging(func() {
		node.killAgent()
		if err := os.Remove(filepath.Join(node.StateDir(), "discovery-service.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := m.server.Stop(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		node.startAgent()
		node.await(node.agent, "discovery unreachable")
		node.awaitClean()
		if peers := node.role("peers"); strings.Count(peers, "\n") != 1 {
			t.Errorf("WireGuard's peers are:\n%s", peers)
		}
	})
}

func TestMeshComesUpWithoutDiscovery(t *testing.T) {
	scenario(t, "all machines reboot while discovery is down")
	m := startMesh(t, 3)
	m.awaitUp()
	if err := m.server.Stop(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// As after a reboot of all: the agents are gone and so is the kernel's state.
	for _, machine := range m.machines {
		if err := machine.agent.Stop(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		machine.run("down")
	}
	for _, machine := range m.machines {
		machine.startAgent()
	}
	m.awaitUp()
	m.machines[0].ping(m.machines[2].meshAddress())

	t.Run("and discovery, back but empty, takes nothing away", func(t *testing.T) {
		m.keepPinging(func() {
			m.serve()
			for _, machine := range m.machines {
				machine.await(m.server, "serving discovery")
			}
			late := m.add(t, "late")
			late.write(m.config)
			late.startAgent()
			m.machines = append(m.machines, late)
			m.awaitUp()
		})
	})
}

func TestPeerLeaves(t *testing.T) {
	scenario(t, "a machine leaves the mesh and comes back")
	m := startMesh(t, 3)
	m.awaitUp()
	m.keepPinging(func() {
		m.machines[2].run("down")
		for _, machine := range m.machines[:2] {
			machine.awaitUp(1)
			machine.awaitClean()
		}
	})

	t.Run("and comes back", func(t *testing.T) {
		m.machines[2].run("reload")
		m.awaitUp()
	})
	t.Run("leaves when KubeSpan is disabled in its config", func(t *testing.T) {
		gone := m.machines[2]
		gone.after(func() { gone.write(strings.Replace(m.config, "enabled: true", "enabled: false", 1)) }, "- link kubespan")
		for _, machine := range m.machines[:2] {
			machine.awaitUp(1)
		}
		gone.awaitClean()
	})
}

func TestSecondAgentIsRefused(t *testing.T) {
	m := startMesh(t, 1)
	node := m.machines[0]
	if o := node.try("run"); o.status != 1 || !strings.Contains(o.stderr, "another spanctl works with this state directory") {
		t.Errorf("status %d\n%s", o.status, o.stderr)
	}
	if o := node.try("run", "--state-dir", filepath.Join(node.Dir, "other")); o.status != 1 || !strings.Contains(o.stderr, "another agent answers at") {
		t.Errorf("status %d\n%s", o.status, o.stderr)
	}
}

func TestAgentWithoutConfigWaitsForOne(t *testing.T) {
	m := newMesh(t, 1)
	m.serve()
	node := m.machines[0]
	if err := os.Remove(node.Config()); err != nil {
		t.Fatal(err)
	}
	node.startAgent()
	node.await(node.agent, "there is no config file")
	if o := node.try("diff"); o.status < 2 || !strings.Contains(o.stderr, "the agent has no config yet") {
		t.Errorf("status %d\n%s", o.status, o.stderr)
	}
	// Pods' networks need a cluster to ask; without one the mesh comes up all the same.
	file := node.file("m.cue", edit(m.config, "advertiseKubernetesNetworks: true"))
	node.after(func() {
		if out := node.run("apply", "-f", file, "--immediate"); !strings.Contains(out, "+ link kubespan") {
			t.Errorf("apply did:\n%s", out)
		}
	}, "no kubeconfig is set")
	node.awaitClean()
}

// TestFailedPassIsSaidAndHealed takes the UDP port away and gives it back.
func TestFailedPassIsSaidAndHealed(t *testing.T) {
	scenario(t, "the listen port is taken by another program, and given back")
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	blocker := node.startRole("listen", "51999")
	m.keepPinging(func() {
		o := node.try("apply", "-f", node.file("m.cue", edit(m.config, "listenPort: 51999")), "--immediate")
		for _, want := range []string{"UDP port 51999 is in use by another program", "0 of 1 changes were made; these were not",
			"~ link kubespan: listenPort 51820 -> 51999", "the agent tries again"} {
			if o.status != 1 || !strings.Contains(o.stderr, want) {
				t.Errorf("status %d, want %q in\n%s%s", o.status, want, o.stdout, o.stderr)
			}
		}
		node.await(node.agent, "reconcile failed")
	})
	node.after(func() {
		if err := blocker.Stop(unix.SIGKILL); err == nil {
			t.Error("the blocker ended by itself")
		}
	}, `"change applied" change="~ link kubespan: listenPort`)
	node.awaitClean()
}
