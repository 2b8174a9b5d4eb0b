package e2e_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

const sigterm = unix.SIGTERM

// stop ends a role.
func stop(t *testing.T, p *lab.Process) {
	t.Helper()
	if err := p.Stop(sigterm); err != nil {
		t.Fatalf("%v: %s", err, p.Output())
	}
}

// TestSettingsChangeInPlace goes through the settings of a mesh that is at work.
func TestSettingsChangeInPlace(t *testing.T) {
	scenario(t, "port, MTU, keepalive, mark, table, priority, name and secret change in place")
	m := startMesh(t, 2)
	m.awaitUp()
	node, other := m.machines[0], m.machines[1]
	settings := ""
	for _, setting := range []string{
		"listenPort: 51999", "mtu: 1380", "persistentKeepalive: 10", "fwmark: 0x1000", "routingTable: 1000", "rulePriority: 100",
		`interfaceName: "wg-span"`,
	} {
		t.Run(setting, func(t *testing.T) {
			settings += setting + "\n\t"
			node.after(func() { node.write(edit(m.config, settings)) }, `"change applied" change=`)
			node.awaitUp(1)
			other.awaitUp(1)
			node.awaitClean()
			node.ping(other.Address)
			other.ping(node.Address)
		})
	}
	if left := node.inventory(); strings.Contains(left, "table 180") || strings.Contains(left, "rule 2 32500") || strings.Contains(left, "kubespan") {
		t.Errorf("something is left in the old places:\n%s", left)
	}
	t.Run("another cluster", func(t *testing.T) {
		secrets := node.run("gen", "config", "--with-kubespan", "--discovery-endpoint", m.endpoint(), "-o", "-")
		before := node.meshAddress()
		for _, machine := range m.machines {
			machine.after(func() { machine.write(secrets) }, `"change applied" change=`)
		}
		m.awaitUp()
		if node.meshAddress() == before {
			t.Error("the address is that of the old cluster")
		}
		node.ping(other.meshAddress())
		m.diffsAreClean()
	})
}

// TestBypassAndReplies has one machine keep a network outside of the tunnel, and
// the other not: what is asked outside is answered outside.
func TestBypassAndReplies(t *testing.T) {
	scenario(t, "replies leave the way the request came")
	m := newMesh(t, 2)
	node, other := m.machines[0], m.machines[1]
	node.write(edit(m.config, `bypass: ["172.20.0.0/24"]`))
	m.start()
	m.awaitUp()
	node.ping(other.meshAddress())
	count := func(do func()) int {
		before := node.received()
		do()
		return node.received() - before
	}
	const pings = 100
	many := func() {
		pinging, err := node.KeepPinging(withPatience(t), other.Address)
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(pings * 20 * time.Millisecond)
		if got, err := pinging.Stop(); err != nil || got.Lost() > 0 || got.Sent < pings/2 {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if n := count(many); n > pings/4 {
		t.Errorf("%d packets came through the tunnel in answer to pings outside of it", n)
	}
	node.after(func() { node.write(m.config) }, `"change applied" change=`)
	if n := count(many); n < pings/2 {
		t.Errorf("%d packets came through the tunnel in answer to pings in it", n)
	}
	m.diffsAreClean()
}

// received is how many packets came out of the tunnel.
func (m *machine) received() int {
	m.t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(m.role("received")))
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

// TestRouteIntoTheTunnel adds a route that would lead WireGuard's own packets
// into the tunnel, where they would be packed again and again.
func TestRouteIntoTheTunnel(t *testing.T) {
	scenario(t, "a route that leads WireGuard's own packets into the tunnel makes no loop")
	m := startMesh(t, 2)
	m.awaitUp()
	node, other := m.machines[0], m.machines[1]
	node.role("route", other.Address.String(), "kubespan")
	before := node.sent()
	if node.answers(other.meshAddress()) {
		t.Error("the tunnel works over itself")
	}
	// A loop would send as fast as it can.
	if n := node.sent() - before; n > 500 {
		t.Errorf("%d packets went into the tunnel", n)
	}
	node.role("unroute", other.Address.String(), "kubespan")
	node.ping(other.meshAddress())
	m.diffsAreClean()
}

// sent is how many packets went into the tunnel.
func (m *machine) sent() int {
	m.t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(m.role("sent")))
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

// TestStrictReversePath has an administrator's setting that drops packets which
// come over a link that does not lead back.
func TestStrictReversePath(t *testing.T) {
	scenario(t, "strict reverse path checks do not drop what comes out of the tunnel")
	m := newMesh(t, 2)
	for _, machine := range m.machines {
		if err := machine.Write("/proc/sys/net/ipv4/conf/all/rp_filter", "1"); err != nil {
			t.Fatal(err)
		}
	}
	m.start()
	m.awaitUp()
	m.machines[0].ping(m.machines[1].Address)
	m.diffsAreClean()
	// As somebody sets it who tightens a machine.
	node := m.machines[0]
	if err := node.Write("/proc/sys/net/ipv4/conf/kubespan/rp_filter", "1"); err != nil {
		t.Fatal(err)
	}
	node.run("reload")
	node.ping(m.machines[1].Address)
	m.diffsAreClean()
}

// TestDownPeer takes the tunnel of a machine away as a crash does, and looks at
// what becomes of packets to it.
func TestDownPeer(t *testing.T) {
	scenario(t, "what belongs to a peer that is down is dropped, or sent in the clear where that is allowed")
	t.Parallel()
	m := newMesh(t, 3)
	forced, lax, gone := m.machines[0], m.machines[1], m.machines[2]
	lax.write(edit(m.config, "allowDownPeerBypass: true"))
	m.start()
	m.awaitUp()
	if err := gone.agent.Stop(unix.SIGKILL); err == nil {
		t.Fatal("the agent ended by itself")
	}
	gone.role("delete-link")
	isDown := func(spec map[string]any) bool { return spec["state"] == "down" }
	for _, machine := range []*machine{forced, lax} {
		machine.awaitPeer(gone.Name, isDown)
	}
	if forced.answers(gone.Address) {
		t.Error("packets to a peer that is down went out in the clear")
	}
	lax.ping(gone.Address)
}

// TestNetworksOfOthers has a machine announce a network behind it, and another
// try only some endpoints of its peers.
func TestNetworksOfOthers(t *testing.T) {
	scenario(t, "networks behind a machine are reached, and endpoints are filtered where they are received")
	m := newMesh(t, 3)
	node, gateway, hidden := m.machines[0], m.machines[1], m.machines[2]
	gateway.write(edit(m.config, `advertisedNetworks: ["10.99.0.0/16"]`))
	hidden.write(edit(m.config, fmt.Sprintf("filters: endpoints: [%q]", "!172.20.0.0/24")))
	node.write(edit(m.config, fmt.Sprintf("filters: peerEndpoints: [%q]", "!"+gateway.Address.String()+"/32")))
	gateway.role("inner", "10.99.1.1/24")
	// As almost all machines have one: without any route to a network, a program is
	// told so before its packets are looked at.
	node.role("default-route", "172.20.0.1")
	m.start()
	// Neither of these two knows where the other is, but the gateway finds the node.
	node.awaitPeer(gateway.Name, isUp)
	node.ping(netip.MustParseAddr("10.99.1.1"))
	specs := node.run("get", "kubespanpeerspecs", "-o", "yaml")
	if strings.Contains(specs, gateway.Address.String()+":51820") || !strings.Contains(specs, "10.99.0.0/16") {
		t.Errorf("the peers are:\n%s", specs)
	}
	m.diffsAreClean()
}

// TestAddressesOfTheConfig has machines with an IPv4 address in the mesh, and no route but
// those of their links.
func TestAddressesOfTheConfig(t *testing.T) {
	scenario(t, "machines have further addresses in the mesh, and change them")
	m := newMesh(t, 2)
	for i, machine := range m.machines {
		machine.write(edit(m.config, fmt.Sprintf(`addresses: ["10.99.0.%d/24"]`, i+1)))
	}
	one, two := m.machines[0], m.machines[1]
	m.start()
	m.awaitUp()
	first, second, other := netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("10.99.0.3")
	one.ping(second)
	two.ping(first)
	one.transfer(two, second, 1<<20)
	if err := one.Netlink(func(h *netlink.Handle) error {
		routes, err := h.RouteGet(second.AsSlice())
		if err == nil && (len(routes) != 1 || !routes[0].Src.Equal(first.AsSlice())) {
			t.Errorf("it is not the address that packets come from: %v", routes)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	m.keepPinging(func() {
		one.after(func() { one.write(edit(m.config, `addresses: ["10.99.0.3/24"]`)) }, "- address 10.99.0.1/24")
		two.awaitNetwork(one.Name, "10.99.0.3/32")
	})
	two.ping(other)
	one.ping(second)
	m.diffsAreClean()
	one.after(func() { one.write(m.config) }, "- address 10.99.0.3/24")
	m.diffsAreClean()
}

// TestStaticPeer has a peer without an agent: a phone.
func TestStaticPeer(t *testing.T) {
	scenario(t, "a peer without an agent, described in the config")
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	phone := m.add(t, "phone")
	psk := strings.TrimSpace(phone.role("psk"))
	public := strings.TrimSpace(phone.role("phone-key"))
	// An address in the mesh for it, and one that is routed into the tunnel.
	inside := node.meshAddress().As16()
	copy(inside[8:], []byte{0, 0, 0, 0, 0, 0, 0, 0x77})
	address := netip.AddrFrom16(inside)
	static := fmt.Sprintf("\ncluster: discovery: registries: static: peers: [{name: %q, publicKey: %q, presharedKey: %q, allowedIPs: [%q, %q]}]\n",
		"phone", public, psk, address.String()+"/128", "172.20.0.77/32")
	m.keepPinging(func() {
		node.after(func() { node.write(m.config + static) }, "+ peer "+public)
	})
	key := strings.Fields(node.role("public-key"))[0]
	phone.startRole("phone", key, psk, node.Address.String()+":51820", node.meshAddress().String()+"/128", address.String()+"/128", "172.20.0.77/32")
	phone.ping(node.meshAddress())
	node.ping(address)
	node.ping(netip.MustParseAddr("172.20.0.77"))
	node.awaitPeer("phone", isUp)
	if members := node.run("get", "members"); !strings.Contains(members, "phone") {
		t.Errorf("the members are:\n%s", members)
	}
	if shown := node.run("get", "kubespanpeerspecs", "-o", "yaml") + node.run("diff"); strings.Contains(shown, psk) {
		t.Error("the preshared key is shown")
	}
	m.diffsAreClean()

	t.Run("changes without leaving discovery", func(t *testing.T) {
		m.keepPinging(func() {
			node.after(func() { node.write(m.config) }, "- peer "+public)
			node.awaitUp(1)
		})
	})
}

func TestRotateKey(t *testing.T) {
	scenario(t, "a machine gets another key, and its peers follow")
	m := startMesh(t, 3)
	m.awaitUp()
	node := m.machines[0]
	address := node.meshAddress()
	before := strings.TrimSpace(node.role("public-key"))
	pinging, err := m.machines[1].KeepPinging(withPatience(t), address)
	if err != nil {
		t.Fatal(err)
	}
	out := node.run("rotate-key")
	if !strings.Contains(out, "public key before: "+before) || strings.Contains(out, "public key now:    "+before) {
		t.Errorf("it said:\n%s", out)
	}
	for _, machine := range m.machines[1:] {
		machine.follow("kubespanpeerstatuses", func(specs map[string]map[string]any) bool {
			_, old := specs[before]
			for _, spec := range specs {
				if spec["state"] != "up" {
					return false
				}
			}
			return !old && len(specs) == 2
		})
		machine.ping(address)
		if strings.Contains(machine.role("peers"), before) {
			t.Errorf("%s still has the old key", machine.Name)
		}
	}
	pings, err := pinging.Stop()
	if err != nil {
		t.Fatal(err)
	}
	// A request that is lost is repeated after 5 seconds: that is a handshake.
	gap := time.Duration(pings.Lost()) * 20 * time.Millisecond
	t.Logf("packets were lost for %v", gap)
	if gap > 7*time.Second {
		t.Errorf("packets were lost for %v", gap)
	}
	m.diffsAreClean()

	t.Run("not without discovery", func(t *testing.T) {
		if err := m.server.Stop(sigterm); err != nil {
			t.Fatal(err)
		}
		now := strings.TrimSpace(node.role("public-key"))
		if o := node.try("rotate-key"); o.status != 1 || !strings.Contains(o.stderr, "the key was not changed") {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		if strings.TrimSpace(node.role("public-key")) != now {
			t.Error("the key was changed")
		}
		node.ping(m.machines[1].meshAddress())
	})
	t.Run("also without an agent", func(t *testing.T) {
		m.serve()
		m.awaitUp()
		if err := node.agent.Stop(sigterm); err != nil {
			t.Fatal(err)
		}
		now := strings.TrimSpace(node.role("public-key"))
		node.run("rotate-key")
		m.machines[1].follow("kubespanpeerstatuses", func(specs map[string]map[string]any) bool {
			_, old := specs[now]
			return !old && len(specs) == 2
		})
		m.machines[1].ping(address)
		node.startAgent()
		m.awaitUp()
	})
}

// TestWireguardProcessDies kills the process that runs WireGuard in userspace.
func TestWireguardProcessDies(t *testing.T) {
	scenario(t, "the WireGuard process is killed and comes back")
	if inGuest() {
		t.Skip("there is no such process")
	}
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	began := time.Now()
	node.after(func() { node.role("kill-wireguard") }, "+ link kubespan")
	m.machines[1].ping(node.meshAddress())
	t.Logf("the tunnel carried packets %.1f s later", time.Since(began).Seconds())
	m.awaitUp()
	m.diffsAreClean()
	if events := node.run("get", "events"); !strings.Contains(events, "Repaired") {
		t.Errorf("the events are:\n%s", events)
	}
}

// TestFight has another program take a rule away as often as it is there.
func TestFight(t *testing.T) {
	scenario(t, "a fight with another program slows down and is told")
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	from := len(node.agent.Output())
	began := time.Now()
	for range 5 {
		position := len(node.agent.Output())
		node.role("delete-rules")
		if _, err := node.agent.Await(withPatience(t), position, `"reverted external change" change="+ rule ipv6 32500`); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("five repairs took %.1f s, each with a program that was started to do the damage", time.Since(began).Seconds())
	node.role("delete-rules")
	if _, err := node.agent.Await(withPatience(t), from, "repeated external changes"); err != nil {
		t.Fatal(err)
	}
	if events := node.run("get", "events"); !strings.Contains(events, "Repaired") || !strings.Contains(events, "RepeatedRepairs") {
		t.Errorf("the events are:\n%s", events)
	}
	node.awaitClean()
}

// TestThingsInTheWay refuses to make a mesh beside what would break it.
func TestThingsInTheWay(t *testing.T) {
	scenario(t, "a table, a priority, a port or a name that others use is refused before anything is changed")
	m := newMesh(t, 1)
	m.serve()
	node := m.machines[0]
	for _, c := range []struct {
		name, role, arg, want string
		undo                  string
	}{
		{"the routing table", "occupy-table", "180", "set machine.network.kubespan.routingTable to a table that nobody uses", "free-table"},
		{"the priority", "occupy-priority", "32500", "set machine.network.kubespan.rulePriority to a number that nobody uses", "free-priority"},
		{"the name", "occupy-name", "kubespan", "set machine.network.kubespan.interfaceName to another name", "free-name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			node.role(c.role, c.arg)
			before := node.inventory()
			if o := node.try("apply", "-f", node.Config(), "--immediate"); o.status != 1 || !strings.Contains(o.stderr, c.want) {
				t.Errorf("status %d, want %q in\n%s%s", o.status, c.want, o.stdout, o.stderr)
			}
			if after := node.inventory(); after != before {
				t.Errorf("the network was changed:\n%s\nbefore:\n%s", after, before)
			}
			node.role(c.undo, c.arg)
		})
	}
	t.Run("the port", func(t *testing.T) {
		blocker := node.startRole("listen", "51820")
		before := node.inventory()
		if o := node.try("apply", "-f", node.Config(), "--immediate"); o.status != 1 || !strings.Contains(o.stderr, "UDP port 51820 is in use") {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		if after := node.inventory(); after != before {
			t.Errorf("the network was changed:\n%s", after)
		}
		stop(t, blocker)
	})
	t.Run("no permission", func(t *testing.T) {
		before := node.inventory()
		if o := node.finish(node.powerless("apply", "-f", node.Config(), "--immediate")); o.status != 1 || !strings.Contains(o.stderr, "not permitted to configure the network") {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		if after := node.inventory(); after != before {
			t.Errorf("the network was changed:\n%s", after)
		}
	})
	node.startAgent()
	node.awaitClean()
}

// TestClockIsSet sets the clock of a machine, which in the guest is that of all.
func TestClockIsSet(t *testing.T) {
	scenario(t, "the clock is set by an hour, and no peer is lost")
	requiresGuest(t, "the clock is that of the whole machine")
	m := startMesh(t, 2)
	m.awaitUp()
	m.keepPinging(func() {
		from := len(m.machines[0].agent.Output())
		m.machines[0].role("set-clock", "1h")
		// Each machine looks at its peers at once.
		m.machines[0].ping(m.machines[1].meshAddress())
		<-time.After(5 * time.Second)
		for _, machine := range m.machines {
			machine.awaitUp(1)
		}
		if said := m.machines[0].agent.Output()[from:]; strings.Contains(said, "peer down") {
			t.Errorf("the agent said:\n%s", said)
		}
	})
	m.diffsAreClean()
}
