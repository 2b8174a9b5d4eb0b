package e2e_test

import (
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
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

	t.Run("nothing at the relay is in clear", func(t *testing.T) {
		canaries := one.Packets.SendCanaries(two.API.MeshAddress())
		echoes := two.Packets.SendCanaries(one.API.MeshAddress())
		count, kinds := m.Discovery.Packets.Clear(func() {
			one.Packets.Transfer(two, two.API.MeshAddress(), 1<<20)
			two.Packets.Transfer(one, one.API.MeshAddress(), 1<<20)
		})
		if count > 0 {
			t.Errorf("%d packets were in clear:\n%s", count, kinds)
		}
		canaries.Terminate()
		echoes.Terminate()
		// What is in clear is seen there.
		control := one.Packets.SendCanaries(m.Discovery.Address)
		if count, _ := m.Discovery.Packets.Clear(func() { one.Packets.Transfer(two, two.API.MeshAddress(), 1<<20) }); count == 0 {
			t.Error("the capture sees nothing")
		}
		control.Terminate()
	})
	t.Run("an agent starts again", func(t *testing.T) {
		pinging := one.Packets.KeepPinging(two.API.MeshAddress())
		for _, machine := range m.Machines {
			machine.Agent.Terminate()
			machine.Agent.Start()
			machine.API.AwaitPeersUp(1)
		}
		harness.WantAnswers(t, pinging.Stop())
	})
	t.Run("the relay starts again, or is killed", func(t *testing.T) {
		for _, killed := range []bool{false, true} {
			if killed {
				m.Server.Kill()
			} else {
				m.Server.Terminate()
			}
			m.Serve("--relay", ":51821", "--state-dir", m.Discovery.Dir)
			one.Packets.Ping(two.API.MeshAddress())
			two.Packets.Ping(one.API.MeshAddress())
		}
	})
	m.AwaitUp()
	m.AwaitNoDiff()
}

// TestRelayOverTCP has the network of one of two machines let no UDP through to the relay.
func TestRelayOverTCP(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a machine whose network lets no UDP through to the relay reaches it over TCP, and goes back to UDP")
	m := harness.NewMesh(t, 0)
	m.Serve("--relay", ":51821", "--state-dir", m.Discovery.Dir)
	one, two := m.AddBehindNAT(lab.Symmetric, "one"), m.AddBehindNAT(lab.Symmetric, "two")
	m.RouterOf(one).Exec.Nodecmd("block", "udp", "51821", "in")
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	at := func(address string) func(map[string]any) bool {
		return func(spec map[string]any) bool {
			endpoint, _ := spec["endpoint"].(string)
			return harness.IsUp(spec) && spec["blindRelay"] != nil && strings.HasPrefix(endpoint, address+":")
		}
	}
	one.API.AwaitPeer("two", at("127.0.0.1"))
	two.API.AwaitPeer("one", at(m.Discovery.Address.String()))
	one.Packets.Ping(two.API.MeshAddress())
	two.Packets.Ping(one.API.MeshAddress())
	m.AwaitNoDiff()

	m.RouterOf(one).Exec.Nodecmd("delete-table", nodecmd.BlockTable)
	one.API.AwaitPeer("two", at(m.Discovery.Address.String()))
	one.Packets.Ping(two.API.MeshAddress())
}
