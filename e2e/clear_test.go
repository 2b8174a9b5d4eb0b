package e2e_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
)

// clearMesh is a mesh of two machines with a pod each, in which everything could leave in clear:
// each machine has the other as its default gateway, for both IP versions.
type clearMesh struct {
	*harness.Mesh
	node, peer *harness.Machine
	// lan6 are the machines' IPv6 addresses on the lab's network.
	lan6 []netip.Addr
	// targets are the addresses of the peer that packets to must be encrypted.
	targets []netip.Addr
	total   int
}

// startClear starts the mesh and, in both machines and their pods, streams of canaries to every
// kind of address of the other.
func startClear(t *testing.T) *clearMesh {
	t.Helper()
	m := &clearMesh{Mesh: harness.NewMesh(t, 2)}
	m.node, m.peer = m.Machines[0], m.Machines[1]
	networks := [][]string{{"10.42.1.0/24", "fd42:0:0:1::/64"}, {"10.42.2.0/24", "fd42:0:0:2::/64"}}
	lan6 := []netip.Addr{netip.MustParseAddr("2001:db8:20::1"), netip.MustParseAddr("2001:db8:20::2")}
	m.lan6 = lan6
	for i, machine := range m.Machines {
		m.route(i)
		// Each machine is the other's gateway, which stays outside of the mesh unless the config says
		// otherwise, or the peer is reached at that address.
		other := m.Machines[1-i].Address
		machine.Files.WriteConfig(harness.Edit(m.Config, fmt.Sprintf("advertisedNetworks: [%q, %q], routeConnectedNetworks: [%q, %q]",
			networks[i][0], networks[i][1], netip.PrefixFrom(other, other.BitLen()), netip.PrefixFrom(lan6[1-i], lan6[1-i].BitLen()))))
	}
	m.Start()
	m.AwaitUp()
	var all [2][]netip.Addr
	var pods [2]*harness.Machine
	for i, machine := range m.Machines {
		pods[i] = machine.AddPod(fmt.Sprintf("pod-%d", i+1), networks[i]...)
		m.Machines[1-i].API.AwaitNetwork(machine.Name, networks[i][0])
		m.Machines[1-i].API.AwaitNetwork(machine.Name, lan6[i].String())
		all[i] = []netip.Addr{machine.API.MeshAddress(), machine.Address, lan6[i]}
		for _, network := range networks[i] {
			all[i] = append(all[i], netip.MustParsePrefix(network).Addr().Next().Next())
		}
	}
	m.AwaitNoDiff()
	m.targets = all[1]
	for _, to := range m.targets {
		m.node.Packets.Ping(to)
	}
	for i, machine := range m.Machines {
		machine.Packets.SendCanaries(all[1-i]...)
		pods[i].Packets.SendCanaries(all[1-i]...)
	}
	return m
}

// route gives a machine its IPv6 address and its default gateways, which it loses with its link.
func (m *clearMesh) route(i int) {
	machine := m.Machines[i]
	machine.Exec.Nodecmd("add-address", m.lan6[i].String()+"/64")
	machine.Exec.Nodecmd("default-route", m.Machines[1-i].Address.String())
	machine.Exec.Nodecmd("default-route", m.lan6[1-i].String())
}

// lasts is how long canaries are sent while something is wrong.
const lasts = 500 * time.Millisecond

// nothingClear fails the test if a canary was seen on the wire while do worked. The mesh must work
// afterwards.
func (m *clearMesh) nothingClear(t *testing.T, event string, do func()) {
	t.Run(event, func(t *testing.T) {
		count, kinds := m.node.Packets.Clear(func() {
			do()
			m.AwaitNoDiff()
			for _, to := range m.targets {
				m.node.Packets.Ping(to)
			}
		})
		m.total += count
		t.Logf("packets in clear: %d", count)
		if count > 0 {
			t.Errorf("%d packets left in clear:\n%s", count, kinds)
		}
	})
}

// without does something while no agent runs, lets canaries be sent for a while and starts the
// agent again.
func (m *clearMesh) without(do func()) {
	m.node.Agent.Terminate()
	do()
	<-time.After(lasts)
	m.node.Agent.Start()
}

func TestNothingInClear(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "whatever is deleted, stopped, reloaded or put in front: no packet to the mesh leaves in clear")
	m := startClear(t)
	node := m.node
	main, guard := "spanctl-kubespan", "spanguard-kubespan"
	command := func(name string, args ...string) func() {
		return func() { node.Exec.Nodecmd(name, args...) }
	}
	type event struct {
		name string
		do   func()
	}
	events := []event{
		{"the link is deleted", command("delete-link")},
		{"the routes are deleted", command("flush-routes")},
		{"the rules are deleted", command("delete-all-rules")},
		{"the table is flushed", command("flush-named-table", main)},
		{"the table is deleted", command("delete-table", main)},
		{"the guard is flushed", command("flush-named-table", guard)},
		{"the guard is deleted", command("delete-table", guard)},
	}
	if !harness.InGuest() {
		events = append(events, event{"WireGuard is killed", command("kill-wireguard")})
	}
	for _, e := range events {
		m.nothingClear(t, e.name, func() { node.Agent.AwaitAfter(e.do, "reverted external change") })
		m.nothingClear(t, e.name+" while no agent runs", func() { m.without(e.do) })
	}
	m.nothingClear(t, "a rule comes first", func() {
		node.Exec.Nodecmd("shadow")
		<-time.After(lasts)
		node.Exec.Nodecmd("unshadow")
	})
	m.nothingClear(t, "another program sets WireGuard's mark before spanctl", func() {
		node.Exec.Nodecmd("rewrite-marks", "-150", "0x20")
		<-time.After(lasts)
		for _, to := range m.targets {
			node.Packets.Ping(to)
		}
		node.Exec.Nodecmd("delete-table", nodecmd.RewritingTable)
	})
	m.nothingClear(t, "another program sets WireGuard's mark after spanctl", func() {
		node.Exec.Nodecmd("rewrite-marks", "10", "0x20")
		awaitCondition(node, "MarkRewritten", "packets to the mesh had the mark of WireGuard's own, 0x20")
		node.CLI.Try("status", "--check", "ready").WantStatus(t, 1)
		node.Exec.Nodecmd("delete-table", nodecmd.RewritingTable)
	})
	m.nothingClear(t, "the agent is killed", func() {
		node.Agent.Kill()
		<-time.After(lasts)
		node.Agent.Start()
	})
	m.nothingClear(t, "the keys are rotated", func() {
		node.CLI.Run("rotate-key")
		m.peer.CLI.Run("rotate-key")
		m.AwaitUp()
	})
	config := node.Files.Config()
	for _, setting := range []string{"fwmark: 0x200", "routingTable: 190", "rulePriority: 32400", "listenPort: 51821", "interfaceName: \"other0\"", "mtu: 1300"} {
		m.nothingClear(t, "the config is reloaded with "+setting, func() {
			for _, text := range []string{harness.Edit(config, setting), config} {
				node.Files.WriteConfig(text)
				node.CLI.Run("reload")
				m.AwaitUp()
			}
		})
	}
	m.nothingClear(t, "the peer dies", func() {
		m.peer.Agent.Terminate()
		m.peer.Exec.Nodecmd("delete-link")
		<-time.After(lasts)
		m.peer.Agent.Start()
		m.AwaitUp()
	})
	m.nothingClear(t, "the machine boots before discovery is there", func() {
		node.Agent.Terminate()
		node.Net.SetLink(false)
		m.Server.Terminate()
		node.Exec.Nodecmd("delete-link")
		node.Exec.Nodecmd("flush-routes")
		node.Exec.Nodecmd("delete-all-rules")
		node.Exec.Nodecmd("flush-ruleset")
		node.Agent.Start()
		node.API.AwaitIdentity()
		node.Net.SetLink(true)
		m.route(0)
		<-time.After(lasts)
		m.Serve()
		m.AwaitUp()
	})
	node.API.AwaitNoCondition("MarkRewritten")
	t.Logf("packets in clear over all events: %d", m.total)
	m.AwaitNoDiff()
}

// TestTableOfEarlierVersion puts the table of earlier versions in place of today's.
func TestTableOfEarlierVersion(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the table of an earlier version is replaced without losing a packet")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	m.AwaitNoDiff()
	node.Agent.Terminate()
	node.Exec.Nodecmd("former-table")
	node.CLI.Try("diff", "-o", "text").WantStatus(t, 1).WantStdout(t, "former table spanctl removed")
	pinging := node.Packets.KeepPinging(other.Address)
	count, kinds := node.Packets.Clear(func() {
		node.Packets.SendCanaries(other.API.MeshAddress(), other.Address)
		node.Agent.Start()
		m.AwaitUp()
		m.AwaitNoDiff()
	})
	if pings := pinging.Stop(); pings.Lost() != 0 || pings.Sent == 0 {
		t.Errorf("%d of %d pings were lost", pings.Lost(), pings.Sent)
	}
	if count > 0 {
		t.Errorf("%d packets left in clear:\n%s", count, kinds)
	}
	harness.WantNoText(t, "the tables", node.Net.Inventory(), "table spanctl\n")
}

// TestMarksOfConnections has another program that marks connections by the link that they arrive
// on, and routes their replies by the whole mark. The default gateway answers nobody.
func TestMarksOfConnections(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a program that routes replies by the whole mark of a connection works beside the mesh")
	m := harness.NewMesh(t, 2)
	node, other := m.Machines[0], m.Machines[1]
	node.Exec.Nodecmd("default-route", "172.20.0.250")
	node.Exec.Nodecmd("mark-connections")
	m.Start()
	m.AwaitUp()
	outsider := m.Add("outsider")
	outsider.Net.ChangeAddress(netip.MustParseAddr("198.51.100.7"))
	outsider.Exec.Nodecmd("route", node.Address.String(), "eth0")
	outsider.Packets.Ping(node.Address)
	other.Packets.Ping(node.Address)
	other.Packets.Ping(node.API.MeshAddress())
	node.Packets.Ping(other.Address)
	m.AwaitNoDiff()
}

// TestTwoMeshes gives the same two machines a second mesh.
func TestTwoMeshes(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "two meshes work on the same machines; what both would use is an error before any change")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	config := m.Discovery.CLI.Run("gen", "config", "--with-kubespan", "--discovery-endpoint", m.Endpoint(), "-o", "-")
	second := func(machine *harness.Machine, args ...string) []string {
		return append(args, "--state-dir", machine.Dir+"/second", "--socket", machine.Dir+"/second.sock")
	}
	shared := node.Files.Write("second.cue", harness.Edit(config, `interfaceName: "second0"`))
	before := node.Net.Inventory()
	apply := func() *exec.Cmd {
		cmd := node.CLI.Command(second(node, "apply", "-f", shared, "--immediate")...)
		cmd.Env = append(cmd.Environ(), "SPANCTL_CONFIG="+shared) // where it is stored
		return cmd
	}
	node.Exec.Finish(apply()).WantStatus(t, 1).WantStderr(t, "the mesh of the link kubespan on this machine")
	if after := node.Net.Inventory(); after != before {
		t.Errorf("the network was changed:\n%s\nbefore:\n%s", after, before)
	}
	own := harness.Edit(config, "interfaceName: \"second0\"\n\tlistenPort: 51830\n\tfwmark: 0x200\n\troutingTable: 190\n\trulePriority: 32490")
	node.Files.Write("second.cue", strings.Replace(own, "\tfwmark: 0x200\n", "", 1))
	node.Exec.Finish(apply()).WantStatus(t, 1).WantStderr(t, "MarkTaken", "the mesh of the link kubespan on this machine uses the firewall mark", "fwmark to unused bits")
	var agents []*harness.Process
	for _, machine := range m.Machines {
		machine.Files.Write("second.cue", own)
		agents = append(agents, machine.CLI.Start(second(machine, "run", "--config", machine.Dir+"/second.cue")...))
	}
	for _, agent := range agents {
		agent.AwaitOutput("peer up")
	}
	text := other.CLI.Run("get", "kubespanidentities", "-o", "yaml", "--socket", other.Dir+"/second.sock")
	_, text, _ = strings.Cut(text, "address: ")
	address, _, _ := strings.Cut(text, "/")
	for _, to := range []netip.Addr{netip.MustParseAddr(strings.Trim(address, "\"' ")), other.API.MeshAddress(), other.Address} {
		node.Packets.Ping(to)
	}
	m.AwaitUp()
	m.AwaitNoDiff()
	for i, machine := range m.Machines {
		machine.CLI.Run("down", "--socket", machine.Dir+"/second.sock")
		agents[i].Terminate()
	}
	node.Packets.Ping(other.API.MeshAddress())
	node.Packets.Ping(other.Address)
	harness.WantNoText(t, "the network", node.Net.Inventory(), "second0")
	m.AwaitNoDiff()
}
