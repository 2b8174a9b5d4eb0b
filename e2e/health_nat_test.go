package e2e_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/interop"
	"github.com/spanmesh/span/e2e/lab"
)

// registeredWith returns the key of the relay that a machine is registered with, once it is.
func registeredWith(m *harness.Machine) (key string) {
	m.API.Await("affiliates", func(specs harness.Specs) bool {
		for _, spec := range specs {
			kubespan, _ := spec["kubespan"].(map[string]any)
			if keys, _ := kubespan["registered"].([]any); len(keys) > 0 {
				key, _ = keys[0].(string)
			}
		}
		return key != ""
	})
	return key
}

// TestTroubleOfRelaysIsNamed has a relay with room for two machines, and for one over TCP.
func TestTroubleOfRelaysIsNamed(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a relay that has no room for a machine, or answers it neither by UDP nor over TCP, is named, and no longer once that is mended")
	m := harness.NewMesh(t, 0)
	m.Serve("--relay", ":51821", "--state-dir", m.Discovery.Dir, "--max-relay-machines", "2", "--max-relay-streams", "1")
	one, two, three := m.AddBehindNAT(lab.Symmetric, "one"), m.AddBehindNAT(lab.Symmetric, "two"), m.AddBehindNAT(lab.Symmetric, "three")
	for _, machine := range []*harness.Machine{one, two} {
		m.RouterOf(machine).Exec.Nodecmd("block", "udp", "51821", "in")
	}
	one.Agent.Start()
	one.API.Await("healthstates", func(specs harness.Specs) bool { return strings.Contains(fmt.Sprint(specs), "over TCP") })
	harness.WantText(t, "status of one", one.CLI.Try("status").Stdout, m.Discovery.Address.String()+" registered over TCP, since its UDP port does not answer")
	harness.WantText(t, "metrics of one", one.CLI.Run("metrics"), `spanctl_blind_relays{by="tcp"} 1`)
	two.Agent.Start()
	two.Agent.AwaitOutput("relay joined")
	three.Agent.Start()

	wantCondition(t, three, "RelayNotJoined", "warning", "no room for another member", "raise the limit")
	wantCondition(t, two, "RelayUnreachable", "warning", "nothing comes from UDP "+m.Discovery.Address.String()+":51821, nor over TCP from ", "let UDP out")
	harness.WantText(t, "doctor of three", three.CLI.Try("doctor").Stdout, "warn relay that of "+m.Endpoint()+" was not joined: it answers: ")
	harness.WantText(t, "doctor of two", two.CLI.Try("doctor").Stdout, "warn relay "+m.Discovery.Address.String()+" does not answer by UDP")
	harness.WantText(t, "doctor of one", one.CLI.Try("doctor").Stdout, "ok   relay "+m.Discovery.Address.String()+" is reached over TCP")

	m.Server.Terminate()
	m.Serve("--relay", ":51821", "--state-dir", m.Discovery.Dir)
	m.RouterOf(two).Exec.Nodecmd("delete-table", nodecmd.BlockTable)
	three.API.AwaitNoCondition("RelayNotJoined")
	two.API.AwaitNoCondition("RelayUnreachable")
	two.API.AwaitPeer("three", harness.IsUp)
	two.Packets.Ping(three.API.MeshAddress())
	m.AwaitNoDiff()
}

// TestRelayKeyIsClaimed has a member that publishes the key of the relay as its own.
func TestRelayKeyIsClaimed(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a member publishes the key of the relay as its own: it is ignored and named, and the relay goes on")
	m := harness.NewMesh(t, 0)
	m.Serve("--relay", ":51821", "--state-dir", m.Discovery.Dir)
	one, two := m.AddBehindNAT(lab.Symmetric, "one"), m.AddBehindNAT(lab.Symmetric, "two")
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	relayed := func(spec map[string]any) bool { return harness.IsUp(spec) && spec["path"] == "blind-relay" }
	one.API.AwaitPeer("two", relayed)
	two.API.AwaitPeer("one", relayed)
	hostile := m.Add("hostile")
	subnet := one.API.MeshAddress().As16()
	subnet[15]++
	description, err := json.Marshal(interop.Peer{
		Target: net.JoinHostPort(m.Discovery.Address.String(), harness.DiscoveryPort), Cluster: m.Value("id"), Secret: m.Value("secret"),
		NodeID: "2VfX3nu67ZtZPl57IdJrU87BMjVWkSBJiL9ulP9TCnF", Name: "hostile", PublicKey: registeredWith(one),
		Address: hostile.Address, MeshAddress: netip.AddrFrom16(subnet), Endpoint: netip.AddrPortFrom(hostile.Address, 51820),
	})
	if err != nil {
		t.Fatal(err)
	}
	peer := hostile.Exec.StartNodecmd("talos-peer", string(description))
	for _, machine := range []*harness.Machine{one, two} {
		wantCondition(t, machine, "RelayKeyClaimed", "warning", "hostile publishes the key of the relay "+m.Discovery.Address.String()+" as its own, and is ignored", "find who runs that machine")
	}
	two.Agent.Terminate()
	two.Agent.Start()
	two.API.AwaitPeer("one", relayed)
	one.Packets.Ping(two.API.MeshAddress())
	two.Packets.Ping(one.API.MeshAddress())
	peer.Terminate()
	one.API.AwaitNoCondition("RelayKeyClaimed")
}

// TestTroubleOfNATsIsNamed has an agent without the right to open raw sockets, a router that refuses to
// map a port, and one that is behind another NAT.
func TestTroubleOfNATsIsNamed(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "an agent that cannot share WireGuard's port, a router that refuses to map it, and one that is behind another NAT are named, and no longer once that is mended")
	m := withTwoServers(t)
	home, office := m.AddBehindNAT(lab.Symmetric, "home"), m.AddBehindNAT(lab.Symmetric, "office")
	hotel := m.AddBehindNAT(lab.Cone, "hotel")
	m.RouterOf(home).Exec.StartNodecmd("map-ports", "100.64.7.9")
	m.RouterOf(office).Exec.StartNodecmd("map-ports", m.RouterOf(office).Address.String(), "refuse")
	m.Serve()
	home.Agent.Start()
	office.Agent.Start()
	cmd, err := hotel.Subcommand(harness.Context(t), "without-raw", hotel.Binary(), "run")
	if err != nil {
		t.Fatal(err)
	}
	hotel.Agent.StartCommand(cmd)
	wantCondition(t, hotel, "PortNotShared", "warning", "the outside address is not asked for, and no direct path through NATs is looked for", "CAP_NET_RAW")
	hotel.Agent.Terminate()
	hotel.Agent.Start()
	hotel.API.Await("healthstates", func(specs harness.Specs) bool { return strings.Contains(fmt.Sprint(specs), "nat:independent") })
	hotel.API.AwaitNoCondition("PortNotShared")

	mapped := fmt.Sprintf("100.64.7.9:%d", nodecmd.FirstMapped)
	wantCondition(t, home, "PortMappingBehindNAT", "info", "servers see this machine at "+m.RouterOf(home).Address.String(), "forward a UDP port of the NAT in front of it to "+mapped)
	wantCondition(t, office, "PortMappingRefused", "info", "the router does not map UDP 51820: PCP: refused: ", "allow it for this machine on the router")
	harness.WantText(t, "status of home", home.CLI.Try("status").Stdout, mapped+" by the router (PCP), announced; it is behind another NAT")
	harness.WantText(t, "doctor of home", home.CLI.Try("doctor").Stdout, "another NAT is in front of the router", "it gives UDP 51820 another port for each destination")
	harness.WantText(t, "doctor of office", office.CLI.Try("doctor").Stdout, " refuses to map UDP 51820: PCP: refused: ")
	for code, machine := range map[string]*harness.Machine{"PortMappingBehindNAT": home, "PortMappingRefused": office} {
		machine.Files.WriteConfig(strings.Replace(m.Config, "nat: servers", "nat: portMapping: false, nat: servers", 1))
		machine.API.AwaitNoCondition(code)
	}
}
