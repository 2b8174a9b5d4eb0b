package e2e_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
	"github.com/vishvananda/netlink"
)

// TestSettingsChangeInPlace changes the settings of a running mesh one by one.
func TestSettingsChangeInPlace(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "port, MTU, keepalive, mark, table, priority, name and secret change in place")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	settings := ""
	for _, c := range []struct{ setting, change string }{
		{"listenPort: 51999", "~ link kubespan: listenPort"},
		{"mtu: 1380", "~ link kubespan: mtu"},
		{"persistentKeepalive: 10", "keepalive 25s -> 10s"},
		{"fwmark: 0x1000", "~ link kubespan: firewallMark"},
		{"routingTable: 1000", "- route 0.0.0.0/0 table 180"},
		{"rulePriority: 100", "+ rule ipv4 100: "},
		{`interfaceName: "wg-span"`, "+ link wg-span: "},
	} {
		t.Run(c.setting, func(t *testing.T) {
			settings += c.setting + "\n\t"
			node.Agent.AwaitAfter(func() { node.Files.WriteConfig(harness.Edit(m.Config, settings)) }, c.change)
			node.API.AwaitPeersUp(1)
			other.API.AwaitPeersUp(1)
			node.CLI.AwaitNoDiff()
			node.Packets.Ping(other.Address)
			other.Packets.Ping(node.Address)
		})
	}
	harness.WantNoText(t, "the network after all changes", node.Net.Inventory(), "table 180", "rule 2 32500", "kubespan")
	t.Run("another cluster", func(t *testing.T) {
		secrets := node.CLI.Run("gen", "config", "--with-kubespan", "--discovery-endpoint", m.Endpoint(), "-o", "-")
		before := []netip.Addr{node.API.MeshAddress(), other.API.MeshAddress()}
		for _, machine := range m.Machines {
			machine.Files.WriteConfig(secrets)
		}
		for i, machine := range m.Machines {
			machine.API.AwaitMeshAddressNot(before[i])
		}
		m.AwaitUp()
		node.Packets.Ping(other.API.MeshAddress())
		m.AwaitNoDiff()
	})
}

// TestBypassAndReplies has one machine that keeps a network outside of the tunnel, and one
// that does not. Requests outside of the tunnel are answered outside.
func TestBypassAndReplies(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "replies take the path of their request")
	m := harness.NewMesh(t, 2)
	node, other := m.Machines[0], m.Machines[1]
	node.Files.WriteConfig(harness.Edit(m.Config, `bypass: ["172.20.0.0/24"]`))
	m.Start()
	m.AwaitUp()
	node.Packets.Ping(other.API.MeshAddress())
	count := func(do func()) int {
		before := node.Net.Received()
		do()
		return node.Net.Received() - before
	}
	const pings = 100
	many := func() { node.Packets.PingMany(other.Address, pings) }
	if n := count(many); n > pings/4 {
		t.Errorf("%d packets came through the tunnel in answer to pings outside of it", n)
	}
	node.Agent.AwaitAfter(func() { node.Files.WriteConfig(m.Config) }, `"change applied" change=`)
	if n := count(many); n < pings/2 {
		t.Errorf("%d packets came through the tunnel in answer to pings in it", n)
	}
	m.AwaitNoDiff()
}

// TestRouteIntoTheTunnel adds a route that would lead WireGuard's own packets into the
// tunnel, where they would be encapsulated again and again.
func TestRouteIntoTheTunnel(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a route that leads WireGuard's own packets into the tunnel makes no loop")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	node.Exec.Nodecmd("route", other.Address.String(), "kubespan")
	before := node.Net.Sent()
	if !node.Packets.Blocked(other.API.MeshAddress()) {
		t.Error("the tunnel works over itself")
	}
	// A loop sends thousands of packets.
	if n := node.Net.Sent() - before; n > 500 {
		t.Errorf("%d packets went into the tunnel", n)
	}
	node.Exec.Nodecmd("unroute", other.Address.String(), "kubespan")
	node.Packets.Ping(other.API.MeshAddress())
	m.AwaitNoDiff()
}

// TestStrictReversePath sets rp_filter=1: the kernel drops a packet from a link over which
// it would not reply.
func TestStrictReversePath(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "strict reverse path checks do not drop packets from the tunnel")
	m := harness.NewMesh(t, 2)
	for _, machine := range m.Machines {
		if err := machine.Write("/proc/sys/net/ipv4/conf/all/rp_filter", "1"); err != nil {
			t.Fatal(err)
		}
	}
	m.Start()
	m.AwaitUp()
	m.Machines[0].Packets.Ping(m.Machines[1].Address)
	m.AwaitNoDiff()
	// An administrator sets it on the mesh's link, too.
	node := m.Machines[0]
	if err := node.Write("/proc/sys/net/ipv4/conf/kubespan/rp_filter", "1"); err != nil {
		t.Fatal(err)
	}
	node.CLI.Run("reload")
	node.Packets.Ping(m.Machines[1].Address)
	m.AwaitNoDiff()
}

// TestDownPeer removes a machine's tunnel as a crash does, and sends packets to that machine.
func TestDownPeer(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "packets to a peer that is down are dropped, or sent in the clear where that is allowed")
	m := harness.NewMesh(t, 3)
	forced, lax, gone := m.Machines[0], m.Machines[1], m.Machines[2]
	lax.Files.WriteConfig(harness.Edit(m.Config, "allowDownPeerBypass: true"))
	m.Start()
	m.AwaitUp()
	gone.Agent.Kill()
	gone.Exec.Nodecmd("delete-link")
	isDown := func(spec map[string]any) bool { return spec["state"] == "down" }
	for _, machine := range []*harness.Machine{forced, lax} {
		machine.API.AwaitPeer(gone.Name, isDown)
	}
	if !forced.Packets.Blocked(gone.Address) {
		t.Error("packets to a peer that is down went out in the clear")
	}
	lax.Packets.Ping(gone.Address)
}

// TestNetworksOfOthers has a machine that announces a network behind it, and one that filters
// the endpoints of its peers.
func TestNetworksOfOthers(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "networks behind a machine are reached, and received endpoints are filtered")
	m := harness.NewMesh(t, 3)
	node, gateway, hidden := m.Machines[0], m.Machines[1], m.Machines[2]
	gateway.Files.WriteConfig(harness.Edit(m.Config, `advertisedNetworks: ["10.99.0.0/16"]`))
	hidden.Files.WriteConfig(harness.Edit(m.Config, fmt.Sprintf("filters: endpoints: [%q]", "!172.20.0.0/24")))
	node.Files.WriteConfig(harness.Edit(m.Config, fmt.Sprintf(`filters: peerEndpoints: ["0.0.0.0/0", "::/0", %q]`, "!"+gateway.Address.String()+"/32")))
	gateway.Exec.Nodecmd("inner", "10.99.1.1/24")
	// Without any route to a network, the kernel refuses packets before the rules of the mesh
	// apply. Almost all machines have a default route.
	node.Exec.Nodecmd("default-route", "172.20.0.1")
	m.Start()
	// Neither knows an endpoint of hidden, and hidden finds nobody; the gateway finds the node.
	node.API.AwaitPeer(gateway.Name, harness.IsUp)
	node.Packets.Ping(netip.MustParseAddr("10.99.1.1"))
	specs := node.CLI.Run("get", "kubespanpeerspecs", "-o", "yaml")
	harness.WantText(t, "the peers", specs, "10.99.0.0/16")
	harness.WantText(t, "the peers", specs, "reason: is excluded by filters.peerEndpoints")
	m.AwaitNoDiff()
}

// TestAddressesOfTheConfig has machines with an IPv4 address in the mesh, and no default route.
func TestAddressesOfTheConfig(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "machines have further addresses in the mesh, and change them")
	m := harness.NewMesh(t, 2)
	for i, machine := range m.Machines {
		machine.Files.WriteConfig(harness.Edit(m.Config, fmt.Sprintf(`addresses: ["10.99.0.%d/24"]`, i+1)))
	}
	one, two := m.Machines[0], m.Machines[1]
	m.Start()
	m.AwaitUp()
	first, second, other := netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("10.99.0.3")
	one.Packets.Ping(second)
	two.Packets.Ping(first)
	one.Packets.Transfer(two, second, 1<<20)
	if err := one.Netlink(func(h *netlink.Handle) error {
		routes, err := h.RouteGet(second.AsSlice())
		if err != nil {
			return err
		}
		if len(routes) != 1 {
			return fmt.Errorf("%d routes to %s, want 1: %v", len(routes), second, routes)
		}
		if got := routes[0].Src; !got.Equal(first.AsSlice()) {
			t.Errorf("packets have the source address %s, want %s", got, first)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	m.WhilePinging(func() {
		one.Agent.AwaitAfter(func() { one.Files.WriteConfig(harness.Edit(m.Config, `addresses: ["10.99.0.3/24"]`)) }, "- address 10.99.0.1/24")
		two.API.AwaitNetwork(one.Name, "10.99.0.3/32")
	})
	two.Packets.Ping(other)
	one.Packets.Ping(second)
	m.AwaitNoDiff()
	one.Agent.AwaitAfter(func() { one.Files.WriteConfig(m.Config) }, "- address 10.99.0.3/24")
	m.AwaitNoDiff()
}

// TestStaticPeer has a peer without an agent: a phone.
func TestStaticPeer(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a static peer, without an agent")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	phone := m.Add("phone")
	psk := strings.TrimSpace(phone.Exec.Nodecmd("psk"))
	public := strings.TrimSpace(phone.Exec.Nodecmd("phone-key"))
	// The phone has an address in the mesh, and one that is routed into the tunnel.
	inside := node.API.MeshAddress().As16()
	copy(inside[8:], []byte{0, 0, 0, 0, 0, 0, 0, 0x77})
	address := netip.AddrFrom16(inside)
	static := fmt.Sprintf("\ncluster: discovery: registries: static: peers: [{name: %q, publicKey: %q, presharedKey: %q, allowedIPs: [%q, %q]}]\n",
		"phone", public, psk, address.String()+"/128", "172.20.0.77/32")
	m.WhilePinging(func() {
		node.Agent.AwaitAfter(func() { node.Files.WriteConfig(m.Config + static) }, "+ peer "+public)
	})
	key := strings.Fields(node.Exec.Nodecmd("public-key"))[0]
	phone.Exec.StartNodecmd("phone", key, psk, node.Address.String()+":51820", node.API.MeshAddress().String()+"/128", address.String()+"/128", "172.20.0.77/32")
	phone.Packets.Ping(node.API.MeshAddress())
	node.Packets.Ping(address)
	node.Packets.Ping(netip.MustParseAddr("172.20.0.77"))
	node.API.AwaitPeer("phone", harness.IsUp)
	if members := node.CLI.Run("get", "members"); !strings.Contains(members, "phone") {
		t.Errorf("the members are:\n%s", members)
	}
	if shown := node.CLI.Run("get", "kubespanpeerspecs", "-o", "yaml") + node.CLI.Run("diff"); strings.Contains(shown, psk) {
		t.Error("the preshared key is shown")
	}
	m.AwaitNoDiff()

	t.Run("changes without leaving discovery", func(t *testing.T) {
		m.WhilePinging(func() {
			node.Agent.AwaitAfter(func() { node.Files.WriteConfig(m.Config) }, "- peer "+public)
			node.API.AwaitPeersUp(1)
		})
	})
}

func TestRotateKey(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a machine rotates its key, and its peers follow")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	node := m.Machines[0]
	address := node.API.MeshAddress()
	before := strings.TrimSpace(node.Exec.Nodecmd("public-key"))
	pinging := m.Machines[1].Packets.KeepPinging(address)
	out := node.CLI.Run("rotate-key")
	harness.WantText(t, "rotate-key", out, "public key before: "+before)
	harness.WantNoText(t, "rotate-key", out, "public key now:    "+before)
	for _, machine := range m.Machines[1:] {
		machine.API.Await("kubespanpeerstatuses", func(specs harness.Specs) bool {
			_, old := specs[before]
			for _, spec := range specs {
				if spec["state"] != "up" {
					return false
				}
			}
			return !old && len(specs) == 2
		})
		machine.Packets.Ping(address)
		if strings.Contains(machine.Exec.Nodecmd("peers"), before) {
			t.Errorf("%s still has the old key", machine.Name)
		}
	}
	pings := pinging.Stop()
	// WireGuard repeats a handshake that is lost after 5 seconds (RekeyTimeout). A peer
	// that only follows at its next rekey is silent for two minutes.
	const limit = 30 * time.Second
	if gap := time.Duration(pings.Lost()) * lab.PingInterval; gap > limit {
		t.Errorf("packets were lost for %v, want at most %v", gap, limit)
	}
	m.AwaitNoDiff()

	t.Run("not without discovery", func(t *testing.T) {
		m.Server.Terminate()
		now := strings.TrimSpace(node.Exec.Nodecmd("public-key"))
		node.CLI.Try("rotate-key").WantStatus(t, 1).WantStderr(t, "the key was not changed")
		if strings.TrimSpace(node.Exec.Nodecmd("public-key")) != now {
			t.Error("the key was changed")
		}
		node.Packets.Ping(m.Machines[1].API.MeshAddress())
	})
	t.Run("also without an agent", func(t *testing.T) {
		m.Serve()
		m.AwaitUp()
		node.Agent.Terminate()
		now := strings.TrimSpace(node.Exec.Nodecmd("public-key"))
		node.CLI.Run("rotate-key")
		m.Machines[1].API.Await("kubespanpeerstatuses", func(specs harness.Specs) bool {
			_, old := specs[now]
			return !old && len(specs) == 2
		})
		m.Machines[1].Packets.Ping(address)
		node.Agent.Start()
		m.AwaitUp()
	})
}

// TestWireguardProcessDies kills the process that runs WireGuard in userspace.
func TestWireguardProcessDies(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the WireGuard process is killed and restarted")
	if harness.InGuest() {
		t.Skip("there is no such process")
	}
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	node.Agent.AwaitAfter(func() { node.Exec.Nodecmd("kill-wireguard") }, "+ link kubespan")
	m.Machines[1].Packets.Ping(node.API.MeshAddress())
	m.AwaitUp()
	m.AwaitNoDiff()
	if events := node.CLI.Run("get", "events"); !strings.Contains(events, "Repaired") {
		t.Errorf("the events are:\n%s", events)
	}
}

// TestRepeatedChanges deletes a rule each time that the agent has restored it.
func TestRepeatedChanges(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "another program keeps changing an object: repairs slow down and are reported")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	// The agent slows down after some repairs in a row. On a busy machine a repair takes a
	// while, but each comes within the minute that a row allows.
	for range 10 {
		node.Agent.AwaitAfter(func() { node.Exec.Nodecmd("delete-rules") }, `"reverted external change" change="+ rule ipv6 32500`)
		if strings.Contains(node.Agent.Output(), "repeated repairs") {
			break
		}
	}
	node.Agent.AwaitOutput("repeated repairs")
	node.Agent.AwaitOutput("code=RepeatedRepairs")
	harness.WantText(t, "the events", node.CLI.Run("get", "events"), "Repaired", "RepeatedRepairs")
	node.CLI.AwaitNoDiff()
}

// TestConflicts applies a config while another program uses what the mesh needs.
func TestConflicts(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "conflicts over a table, a priority, a port or a name are errors before any change")
	m := harness.NewMesh(t, 1)
	m.Serve()
	node := m.Machines[0]
	for _, c := range []struct {
		name, role, arg, code, want string
		undo                        string
	}{
		{"the routing table", "occupy-table", "180", "TableTaken", "set machine.network.kubespan.routingTable to an unused table", "free-table"},
		{"the priority", "occupy-priority", "32500", "RulePriorityTaken", "set machine.network.kubespan.rulePriority to an unused number", "free-priority"},
		{"the name", "occupy-name", "kubespan", "LinkNameTaken", "set machine.network.kubespan.interfaceName to another name", "free-name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			node.Exec.Nodecmd(c.role, c.arg)
			before := node.Net.Inventory()
			node.CLI.Try("apply", "-f", node.Config(), "--immediate").WantStatus(t, 1).
				WantStderr(t, c.code+": ").WantStderr(t, c.want)
			if after := node.Net.Inventory(); after != before {
				t.Errorf("the network was changed:\n%s\nbefore:\n%s", after, before)
			}
			node.Exec.Nodecmd(c.undo, c.arg)
		})
	}
	t.Run("the port", func(t *testing.T) {
		blocker := node.Exec.StartNodecmd("listen", "51820")
		before := node.Net.Inventory()
		node.CLI.Try("apply", "-f", node.Config(), "--immediate").WantStatus(t, 1).WantStderr(t, "UDP port 51820 is in use")
		if after := node.Net.Inventory(); after != before {
			t.Errorf("the network was changed:\n%s", after)
		}
		blocker.Terminate()
	})
	t.Run("no permission", func(t *testing.T) {
		before := node.Net.Inventory()
		node.CLI.TryUnprivileged("apply", "-f", node.Config(), "--immediate").WantStatus(t, 1).WantStderr(t, "not permitted to configure the network")
		if after := node.Net.Inventory(); after != before {
			t.Errorf("the network was changed:\n%s", after)
		}
	})
	node.Agent.Start()
	node.CLI.AwaitNoDiff()
}
