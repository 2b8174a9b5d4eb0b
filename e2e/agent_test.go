package e2e_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

func TestKilledAgentLeavesTrafficAlone(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the agent is killed and started again, and no packet is lost")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	m.WhilePinging(func() {
		node.Agent.Kill()
		// The machine still answers, and its tunnels keep working.
		m.Machines[1].Packets.Ping(node.Address)
		node.Agent.Start()
		node.API.AwaitPeersUp(1)
		node.CLI.AwaitNoDiff()
	})
}

// TestKilledAgentForgetsNoTunnel kills an agent before it saved what it learned, and
// starts it while discovery is down.
func TestKilledAgentForgetsNoTunnel(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the agent is killed before it saved anything, and starts without discovery")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	m.WhilePinging(func() {
		node.Agent.Kill()
		if err := os.Remove(filepath.Join(node.StateDir(), "discovery-service.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		m.Server.Terminate()
		node.Agent.Start()
		node.Agent.AwaitOutput("discovery unreachable")
		node.CLI.AwaitNoDiff()
		if peers := node.Exec.Nodecmd("peers"); strings.Count(peers, "\n") != 1 {
			t.Errorf("WireGuard's peers are:\n%s", peers)
		}
	})
}

func TestMeshComesUpWithoutDiscovery(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "all machines reboot while discovery is down")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	m.Server.Terminate()
	// After a reboot neither the agents nor the kernel's state are there.
	for _, machine := range m.Machines {
		machine.Agent.Terminate()
		machine.CLI.Try("down").WantStatus(t, 0).WantStderr(t, "the other machines were not told")
	}
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	m.AwaitUp()
	m.Machines[0].Packets.Ping(m.Machines[2].API.MeshAddress())

	t.Run("an empty discovery server removes nobody", func(t *testing.T) {
		m.WhilePinging(func() {
			m.Serve()
			late := m.Add("late")
			late.Files.WriteConfig(m.Config)
			late.Agent.Start()
			m.Machines = append(m.Machines, late)
			m.AwaitUp()
		})
	})
}

func TestPeerLeaves(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a machine leaves the mesh and comes back")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	m.WhilePinging(func() {
		m.Machines[2].CLI.Run("down")
		for _, machine := range m.Machines[:2] {
			machine.API.AwaitPeersUp(1)
			machine.CLI.AwaitNoDiff()
		}
	})

	t.Run("and comes back", func(t *testing.T) {
		m.Machines[2].CLI.Run("reload")
		m.AwaitUp()
	})
	t.Run("leaves when KubeSpan is disabled in its config", func(t *testing.T) {
		gone := m.Machines[2]
		gone.Agent.AwaitAfter(func() { gone.Files.WriteConfig(strings.Replace(m.Config, "enabled: true", "enabled: false", 1)) }, "- link kubespan")
		for _, machine := range m.Machines[:2] {
			machine.API.AwaitPeersUp(1)
		}
		gone.CLI.AwaitNoDiff()
	})
}

func TestSecondAgentIsRefused(t *testing.T) {
	t.Parallel()
	m := harness.StartMesh(t, 1)
	node := m.Machines[0]
	node.CLI.Try("run").WantStatus(t, 1).WantStderr(t, "an agent runs already, process ")
	node.CLI.Try("run", "--state-dir", filepath.Join(node.Dir, "other")).WantStatus(t, 1).WantStderr(t, "an agent runs already, process ")
}

func TestAgentWithoutConfigWaitsForOne(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 1)
	m.Serve()
	node := m.Machines[0]
	if err := os.Remove(node.Config()); err != nil {
		t.Fatal(err)
	}
	node.Agent.Start()
	node.Agent.AwaitOutput("no config file")
	node.CLI.Try("diff").WantStatus(t, 2).WantStderr(t, "the agent has no config yet")
	// Without a Kubernetes cluster there are no networks of pods, but the mesh comes up.
	file := node.Files.Write("m.cue", harness.Edit(m.Config, "advertiseKubernetesNetworks: true"))
	node.Agent.AwaitAfter(func() {
		if out := node.CLI.Run("apply", "-f", file, "--immediate"); !strings.Contains(out, "+ link kubespan") {
			t.Errorf("apply did:\n%s", out)
		}
	}, "no API server is known")
	node.CLI.AwaitNoDiff()
}

// TestFailedPassIsReportedAndRetried has another program listen on the UDP port for a while.
func TestFailedPassIsReportedAndRetried(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "another program listens on the port, and ends")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	blocker := node.Exec.StartNodecmd("listen", "51999")
	m.WhilePinging(func() {
		o := node.CLI.Try("apply", "-f", node.Files.Write("m.cue", harness.Edit(m.Config, "listenPort: 51999")), "--immediate")
		o.WantStatus(t, 1).WantStderr(t, "UDP port 51999 is in use by another program", "0 of 2 changes were made; these were not",
			"~ link kubespan: listenPort 51820 -> 51999", "the agent tries again")
		node.Agent.AwaitOutput("reconcile failed")
	})
	node.Agent.AwaitAfter(func() {
		blocker.Kill()
	}, `"change applied" change="~ link kubespan: listenPort`)
	node.CLI.AwaitNoDiff()
}
