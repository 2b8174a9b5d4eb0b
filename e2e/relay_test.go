package e2e_test

import (
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// TestBlindRelay has two machines that no endpoint reaches, and a discovery server with a relay.
func TestBlindRelay(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "two machines behind symmetric NATs reach each other by the discovery server's relay, which cannot read")
	m := harness.NewMesh(t, 0)
	m.Serve("--relay", ":51821", "--state-dir", m.Discovery.Dir)
	one, two := m.AddBehindNAT(lab.Symmetric, "one"), m.AddBehindNAT(lab.Symmetric, "two")
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	for _, machine := range m.Machines {
		machine.Agent.AwaitOutput("relay joined")
	}
	one.API.AwaitPeer("two", harness.IsUp)
	two.API.AwaitPeer("one", harness.IsUp)
	one.Packets.Ping(two.API.MeshAddress())
	two.Packets.Ping(one.API.MeshAddress())
	harness.WantText(t, "the peers", one.CLI.Run("get", "peers"), "blind relay "+m.Discovery.Address.String())
	m.AwaitNoDiff()
}
