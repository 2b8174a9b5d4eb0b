package e2e_test

import (
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/interop"
	"github.com/spanmesh/span/e2e/lab"
)

// talosName is the host name of the Talos node.
const talosName = "talos-default-worker-1"

// addTalos adds a Talos node with tunnels to a mesh, and returns it with its mesh address.
func addTalos(t *testing.T, m *harness.Mesh, talos *harness.Machine) (process *harness.Process, address netip.Addr) {
	t.Helper()
	subnet := m.Machines[0].API.MeshAddress().As16()
	subnet[15]++
	address = netip.AddrFrom16(subnet)
	description, err := json.Marshal(interop.Node{Number: 7, Peer: interop.Peer{
		Target: net.JoinHostPort(m.Discovery.Address.String(), harness.DiscoveryPort), Cluster: m.Value("id"), Secret: m.Value("secret"),
		NodeID: "2VfX3nu67ZtZPl57IdJrU87BMjVWkSBJiL9ulP9TCnF", Name: talosName,
		Address: talos.Address, MeshAddress: address, Endpoint: netip.AddrPortFrom(talos.Address, 51820),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return talos.Exec.StartNodecmd("talos-node", string(description)), address
}

// atSite makes a machine behind a NAT that no agent runs on.
func atSite(t *testing.T, m *harness.Mesh, nat lab.NAT, name string) *harness.Machine {
	t.Helper()
	site, err := m.AddSite(name+"-router", nat)
	if err != nil {
		t.Fatal(err)
	}
	node, err := site.AddNode(name)
	if err != nil {
		t.Fatal(err)
	}
	return harness.NewMachine(t, node, m.Binary)
}

// TestTalosNodeBehindNAT has a Talos node that reaches no endpoint of a machine, nor is reached.
func TestTalosNodeBehindNAT(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a Talos node and a machine behind symmetric NATs reach each other by the discovery server's relay, which cannot read")
	m := harness.NewMesh(t, 0)
	m.Serve("--relay", ":51821", "--state-dir", m.Discovery.Dir)
	one, two := m.AddBehindNAT(lab.Symmetric, "one"), m.AddBehindNAT(lab.Symmetric, "two")
	for _, machine := range m.Machines {
		machine.Agent.Start()
		machine.Agent.AwaitOutput("relay joined")
	}
	m.AwaitUp()
	talos := atSite(t, m, lab.Symmetric, "talos")
	process, address := addTalos(t, m, talos)
	relay := netip.AddrPortFrom(m.Discovery.Address, 51821).String()
	for _, machine := range m.Machines {
		process.AwaitOutput(" " + machine.API.MeshAddress().String() + " ")
	}
	process.AwaitOutput(" " + relay)
	blind := func(spec map[string]any) bool { return harness.IsUp(spec) && spec["blindRelay"] != nil }
	for _, machine := range m.Machines {
		machine.API.AwaitPeer(talosName, blind)
		machine.Packets.Ping(address)
		talos.Packets.Ping(machine.API.MeshAddress())
	}
	m.AwaitNoDiff()

	t.Run("nothing at the relay is in clear", func(t *testing.T) {
		canaries, echoes := one.Packets.SendCanaries(address), talos.Packets.SendCanaries(one.API.MeshAddress())
		count, kinds := m.Discovery.Packets.Clear(func() {
			one.Packets.Transfer(talos, address, 1<<18)
			talos.Packets.Transfer(one, one.API.MeshAddress(), 1<<18)
		})
		canaries.Terminate()
		echoes.Terminate()
		if count > 0 {
			t.Errorf("%d packets were in clear:\n%s", count, kinds)
		}
	})
	t.Run("agents do not take the relay for an endpoint of the other", func(t *testing.T) {
		one.API.Await("kubespanpeerspecs", func(specs harness.Specs) bool {
			spec := specs[two.API.PublicKey()]
			endpoints, _ := json.Marshal(spec["endpoints"])
			refused, _ := json.Marshal(spec["refusedEndpoints"])
			return len(spec) > 0 && !strings.Contains(string(endpoints), relay) && strings.Contains(string(refused), relay)
		})
	})
	t.Run("an agent starts again", func(t *testing.T) {
		pinging := talos.Packets.KeepPinging(one.API.MeshAddress())
		one.Agent.Terminate()
		one.Agent.Start()
		one.API.AwaitPeer(talosName, blind)
		if pings := pinging.Stop(); pings.Lost() > 0 {
			t.Errorf("%d of %d pings were lost", pings.Lost(), pings.Sent)
		}
	})
	process.Terminate()
}

// TestTalosNodeInReach has a Talos node in the network of the machines, and a discovery server with a relay.
func TestTalosNodeInReach(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a Talos node and a machine that reach each other use no relay")
	m := harness.NewMesh(t, 1)
	m.Serve("--relay", ":51821", "--state-dir", m.Discovery.Dir)
	machine := m.Machines[0]
	machine.Agent.Start()
	machine.Agent.AwaitOutput("relay joined")
	process, address := addTalos(t, m, m.Add("talos"))
	machine.API.AwaitPeer(talosName, func(spec map[string]any) bool { return harness.IsUp(spec) && spec["blindRelay"] == nil })
	machine.Packets.Ping(address)
	process.Terminate()
}
