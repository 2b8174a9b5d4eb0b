package e2e_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/trouble"
)

// TestPing pings a peer by each of its names, one that a firewall drops, and none.
func TestPing(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "`spanctl ping` prints the time and the way to a peer, and fails where there is no answer and no agent")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, peer := m.Machines[0], m.Machines[1]

	answer := regexp.MustCompile(`^node-2: [0-9.]+ ms via ` + regexp.QuoteMeta(peer.Address.String()) + `:51820$`)
	sums := regexp.MustCompile(`^2 sent, 0 lost, min/avg/max ([0-9.]+ ms/?){3}$`)
	for _, name := range []string{"node-2", "NODE-2", peer.API.MeshAddress().String(), peer.Address.String(), peer.API.PublicKey(), peer.Files.NodeID()} {
		lines := strings.Split(strings.TrimSpace(node.CLI.Run("ping", name, "-c", "2", "-i", "200ms", "-W", "30s")), "\n")
		if len(lines) != 3 || !answer.MatchString(lines[0]) || !answer.MatchString(lines[1]) || !sums.MatchString(lines[2]) {
			t.Errorf("ping %s printed:\n%s", name, strings.Join(lines, "\n"))
		}
	}
	node.CLI.Try("ping", "node-3").WantStatus(t, 1).WantStderr(t, `no peer is called "node-3"; there are: node-2`)
	node.CLI.Try("ping", "node-2", "-i", "1ms").WantStatus(t, 1).WantStderr(t, "want an interval from 200ms")
	if out := node.CLI.Run("ping", "node-2", "--mtu", "-W", "30s"); out != "node-2: 1420 bytes pass, the mtu of the mesh's link\n" {
		t.Errorf("ping --mtu printed %q", out)
	}

	t.Run("large packets are lost", func(t *testing.T) {
		peer.Exec.Nodecmd("drop-large", "1460") // 60 bytes are WireGuard's
		if out := node.CLI.Run("ping", "node-2", "--mtu"); out != "node-2: 1420 bytes are lost, 1392 pass: set mtu: 1392 here and at node-2\n" {
			t.Errorf("ping --mtu printed %q", out)
		}
		node.CLI.Run("ping", "node-2", "-c", "1", "-W", "30s")
	})
	t.Run("the agent finds it when it reaches a peer", func(t *testing.T) {
		isHole := func(s harness.Specs) bool { return s["MTUBlackHole/node-2"] != nil }
		node.Agent.Terminate()
		node.Agent.Start()
		node.API.Await("conditions", isHole)
		want := map[string]any{"cause": "1420 bytes to node-2 are lost, 1392 pass", "remedy": "set machine.network.kubespan.mtu: 1392 here and at node-2"}
		node.API.Await("conditions", func(s harness.Specs) bool {
			for field, text := range want {
				if s["MTUBlackHole/node-2"][field] != text {
					return false
				}
			}
			return true
		})
		for _, machine := range m.Machines {
			machine.Files.WriteConfig(harness.Edit(m.Config, "mtu: 1392"))
		}
		node.API.Await("conditions", func(s harness.Specs) bool { return !isHole(s) })
		if out := node.CLI.Run("ping", "node-2", "--mtu", "-W", "30s"); out != "node-2: 1392 bytes pass, the mtu of the mesh's link\n" {
			t.Errorf("ping --mtu printed %q", out)
		}
	})
	t.Run("a peer that does not answer", func(t *testing.T) {
		trouble.CutPower(peer)
		o := node.CLI.Try("ping", "node-2", "-c", "2", "-i", "200ms", "-W", "300ms").WantStatus(t, 1)
		if !strings.HasPrefix(o.Stdout, "node-2: no answer") || !strings.HasSuffix(o.Stdout, "\n2 sent, 2 lost\n") {
			t.Errorf("ping printed %q", o.Stdout)
		}
		o = node.CLI.Try("ping", "node-2", "--mtu", "-W", "300ms").WantStatus(t, 1)
		if o.Stdout != "node-2: no answer\n" {
			t.Errorf("ping --mtu printed %q", o.Stdout)
		}
	})
	t.Run("no agent", func(t *testing.T) {
		node.Agent.Terminate()
		node.CLI.Try("ping", "node-2").WantStatus(t, 3).WantStderr(t, "no agent is running")
	})
}
