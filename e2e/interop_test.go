package e2e_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/interop"
)

// TestTalosNodeJoinsThroughOurService has a machine that speaks the protocol as Talos does,
// with code that shares nothing with spanctl.
func TestTalosNodeJoinsThroughOurService(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a Talos node joins")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	talos := m.Add("talos")
	subnet := m.Machines[0].API.MeshAddress().As16()
	subnet[15]++
	description, err := json.Marshal(interop.Peer{
		Target: net.JoinHostPort(m.Discovery.Address.String(), harness.DiscoveryPort), Cluster: m.Value("id"), Secret: m.Value("secret"),
		NodeID: "2VfX3nu67ZtZPl57IdJrU87BMjVWkSBJiL9ulP9TCnF", Name: "talos-default-worker-1",
		PublicKey: "06D9QQOydzKrOL7oeLiqHy9OWE8KtmJzZII2A5/FLFI=", Address: talos.Address,
		MeshAddress: netip.AddrFrom16(subnet), Endpoint: netip.AddrPortFrom(talos.Address, 51820),
	})
	if err != nil {
		t.Fatal(err)
	}
	peer := talos.Exec.StartNodecmd("talos-peer", string(description))
	peer.AwaitOutput("seen at " + talos.Address.String())
	for _, machine := range m.Machines {
		// It receives what a tunnel to our machine needs.
		fields := strings.Fields(machine.CLI.Run("get", "kubespanidentities"))
		key, address := fields[7], netip.MustParsePrefix(fields[6]).Addr()
		peer.AwaitOutput(fmt.Sprintf(" %s %s %s %s:51820\n", machine.Name, key, address, machine.Address))
		// Our machine has it as a member and as a peer.
		machine.API.Await("members", func(specs harness.Specs) bool {
			member := specs["talos-default-worker-1"]
			return member != nil && member["machineType"] == "controlplane" && member["operatingSystem"] == "Talos (v1.11.0)"
		})
		machine.API.Await("kubespanpeerspecs", func(specs harness.Specs) bool {
			spec := specs["06D9QQOydzKrOL7oeLiqHy9OWE8KtmJzZII2A5/FLFI="]
			endpoints, _ := spec["endpoints"].([]any)
			return len(endpoints) == 1 && endpoints[0] == talos.Address.String()+":51820"
		})
	}
	m.Machines[1].CLI.Run("down")
	peer.AwaitOutput("- ")
	peer.Terminate()
	m.Machines[0].API.Await("members", func(specs harness.Specs) bool { return len(specs) == 1 })
}

// TestOurMachinesMeshThroughATalosService has a discovery service of plain grpc-go.
func TestOurMachinesMeshThroughATalosService(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 3)
	service := m.Discovery.Exec.StartNodecmd("talos-service", ":"+harness.DiscoveryPort)
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	m.AwaitUp()
	m.Machines[0].Packets.Ping(m.Machines[2].API.MeshAddress())
	m.Machines[2].CLI.Run("down")
	m.Machines[0].API.AwaitPeersUp(1)
	m.Machines[1].API.AwaitPeersUp(1)
	service.Terminate()
}
