package e2e_test

import (
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestExternalChangesAreReverted changes spanctl's objects by hand. While the agent is
// stopped, diff shows the change. While it runs, the agent reverts it.
func TestExternalChangesAreReverted(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "external changes are reverted")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	node.CLI.AwaitNoDiff()
	peer := strings.TrimSpace(node.Exec.Nodecmd("peers"))
	damages := []struct {
		name, role, arg string
		line            string
	}{
		{"the address is deleted", "delete-address", "", "+ address fd"},
		{"a peer is removed with wgctrl", "remove-peer", peer, "+ peer " + peer},
		{"the nftables table is flushed", "flush-table", "", "~ nftables inet spanctl-kubespan"},
		{"a rule is deleted", "delete-rules", "", "+ rule ipv6 32500"},
	}
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			node.Agent.Terminate()
			node.Exec.Nodecmd(d.role, d.arg)
			node.CLI.Try("diff", "-o", "text").WantStatus(t, 1).WantStdout(t, d.line)
			node.Agent.Start()
			node.Agent.AwaitOutput(d.line)
			node.CLI.AwaitNoDiff()

			node.API.AwaitPeersUp(1)
			node.Agent.AwaitAfter(func() { node.Exec.Nodecmd(d.role, d.arg) }, d.line)
			node.CLI.AwaitNoDiff()
			m.Machines[1].Packets.Ping(node.API.MeshAddress())
		})
	}
}
