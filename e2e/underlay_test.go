package e2e_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

func TestIPv6Underlay(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "three machines mesh over an underlay of IPv6 alone")
	m := harness.NewMeshOn(t, lab.Underlay6, 3)
	m.Start()
	m.AwaitUp()
	for _, from := range m.Machines {
		for _, to := range m.Machines {
			if from != to {
				from.Packets.Ping(to.API.MeshAddress())
				from.Packets.Ping(to.Address)
			}
		}
	}
	m.AwaitNoDiff()
}

// TestSmallPath has links with the smallest MTU that IPv6 allows, under a tunnel with the
// usual MTU. Packets that do not fit are sent in fragments.
func TestSmallPath(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a path with an MTU of 1280 carries a TCP connection")
	m := harness.NewMesh(t, 2)
	for _, machine := range m.Machines {
		machine.Net.SetMTU(1280)
	}
	m.Start()
	m.AwaitUp()
	for _, machine := range m.Machines {
		machine.Agent.AwaitOutput("code=MTUTooLarge subject=\"\" cause=\"the MTU of 1420 is more than the 1280 that the links to the peers leave room for")
	}
	// In userspace WireGuard sends several packets as one (GSO). The kernel does not fragment
	// those, so the transfer is small: it takes longer.
	m.Machines[0].Packets.Transfer(m.Machines[1], m.Machines[1].API.MeshAddress(), 32<<10)
	m.Machines[0].Packets.Transfer(m.Machines[1], m.Machines[1].Address, 32<<10)

	t.Run("an automatic MTU follows the path", func(t *testing.T) {
		for _, machine := range m.Machines {
			machine.Net.SetMTU(1400)
			machine.Agent.AwaitAfter(func() { machine.Files.WriteConfig(harness.Edit(m.Config, `mtu: "auto"`)) }, "mtu 1420 -> 1320")
		}
		m.Machines[0].Packets.Transfer(m.Machines[1], m.Machines[1].API.MeshAddress(), 1<<20)
		for _, machine := range m.Machines {
			machine.Agent.AwaitAfter(func() { machine.Net.SetMTU(1500) }, "mtu 1320 -> 1420")
		}
	})
	m.AwaitNoDiff()
}

func TestLoss(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a tenth of all packets is lost")
	m := harness.NewMesh(t, 3)
	for _, machine := range m.Machines {
		machine.Exec.Nodecmd("lose", "10")
	}
	m.Start()
	m.AwaitUp()
	m.Machines[0].Packets.Transfer(m.Machines[1], m.Machines[1].API.MeshAddress(), 64<<10)
	m.AwaitNoDiff()
}

// TestLinkFlaps sets the only link of a machine down for a while.
func TestLinkFlaps(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the link of a machine goes down and comes back")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	node.Packets.Ping(other.API.MeshAddress())
	node.Net.SetLink(false)
	if !node.Packets.Blocked(other.API.MeshAddress()) {
		t.Fatal("packets pass over a link that is down")
	}
	node.Net.SetLink(true)
	node.Packets.Ping(other.API.MeshAddress())
	other.Packets.Ping(node.API.MeshAddress())
	m.AwaitUp()
	m.AwaitNoDiff()
}

// TestAddressChanges changes the address of one machine, and then of two at the same time:
// neither is at the endpoint that the other last used.
func TestAddressChanges(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the addresses of machines change")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	address := other.API.MeshAddress()
	node.Net.ChangeAddress(netip.MustParseAddr("172.20.0.201"))
	other.Packets.Ping(node.API.MeshAddress())

	t.Run("of both ends at once", func(t *testing.T) {
		node.Net.ChangeAddress(netip.MustParseAddr("172.20.0.202"))
		other.Net.ChangeAddress(netip.MustParseAddr("172.20.0.203"))
		node.Packets.Ping(address)
	})
	m.AwaitUp()
	m.AwaitNoDiff()
}

// partitionTime is long enough that the peers see each other as down.
const partitionTime = 60 * time.Second

func TestPartitionHeals(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a partition of 60 s heals")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	partition := node.Exec.StartNodecmd("partition", other.Address.String())
	if !node.Packets.Blocked(other.API.MeshAddress()) {
		t.Fatal("packets pass through the partition")
	}
	<-time.After(partitionTime)
	m.Machines[2].Packets.Ping(node.API.MeshAddress())
	partition.Terminate()
	node.Packets.Ping(other.API.MeshAddress())
	node.API.AwaitPeersUp(2)
	other.API.AwaitPeersUp(2)
	m.AwaitNoDiff()
}

// TestDeadEndpoints has a machine that announces five addresses at which it does not
// answer before the one at which it does. The other machine announces none, so that only
// it can find the right one.
func TestDeadEndpoints(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "five dead endpoints before the good one: up")
	m := harness.NewMesh(t, 2)
	node, seeker := m.Machines[0], m.Machines[1]
	var dead []string
	for i := range 5 {
		dead = append(dead, netip.AddrFrom4([4]byte{172, 20, 0, byte(240 + i)}).String())
	}
	// The name of their link sorts before that of the good one.
	node.Exec.Nodecmd("dead-link", dead...)
	seeker.Files.WriteConfig(harness.Edit(m.Config, `filters: endpoints: ["!172.20.0.0/24"]`))
	m.Start()
	m.AwaitUp()
	m.AwaitNoDiff()
	harness.WantText(t, "the endpoints, the good one last", seeker.CLI.Run("get", "kubespanpeerspecs"),
		`244:51820","`+node.Address.String()+":51820")

	t.Run("and up again after a reboot", func(t *testing.T) {
		seeker.Agent.Terminate()
		seeker.CLI.Run("down")
		seeker.Agent.Start()
		m.AwaitUp()
	})
}

// TestConeNATs has two machines behind routers that map their port. Only a third machine
// sees the mapped port, and publishes it.
func TestConeNATs(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "two machines behind cone NATs connect with endpoints that a third one observed")
	m := harness.NewMesh(t, 1)
	m.Config = harness.Edit(m.Config, "harvestExtraEndpoints: true")
	m.Machines[0].Files.WriteConfig(m.Config)
	first, second := m.AddBehindNAT(lab.Cone, "first"), m.AddBehindNAT(lab.Cone, "second")
	m.Start()
	m.AwaitUp()
	first.Packets.Ping(second.API.MeshAddress())
	first.API.AwaitPeer("second", func(spec map[string]any) bool {
		return strings.HasSuffix(spec["endpoint"].(string), fmt.Sprintf(":%d", lab.MappedPort))
	})
	m.AwaitNoDiff()
}

// TestSymmetricNATs has two machines that no endpoint reaches.
func TestSymmetricNATs(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "two machines behind symmetric NATs talk through a relay")
	m := harness.NewMesh(t, 1)
	hub := m.Machines[0]
	if err := hub.Write("/proc/sys/net/ipv6/conf/all/forwarding", "1"); err != nil {
		t.Fatal(err)
	}
	if err := hub.Write("/proc/sys/net/ipv4/ip_forward", "1"); err != nil {
		t.Fatal(err)
	}
	shared := m.Config
	m.Config = harness.Edit(shared, "relay: forwarding: use: true")
	hub.Files.WriteConfig(harness.Edit(shared, "relay: forwarding: offer: true"))
	first, second := m.AddBehindNAT(lab.Symmetric, "first"), m.AddBehindNAT(lab.Symmetric, "second")
	m.Start()
	for _, machine := range []*harness.Machine{first, second} {
		machine.API.AwaitPeer(hub.Name, harness.IsUp)
	}
	relayed := func(spec map[string]any) bool { return harness.IsUp(spec) && spec["relay"] == hub.Name }
	first.API.AwaitPeer("second", relayed)
	second.API.AwaitPeer("first", relayed)
	awaitShown(first, "Relayed/second", "its traffic goes through "+hub.Name)
	harness.WantText(t, "the peers", first.CLI.Run("get", "peers"), "relay "+hub.Name)
	first.Packets.Ping(second.API.MeshAddress())
	second.Packets.Ping(first.API.MeshAddress())
	second.Packets.Ping(first.Address)
	m.AwaitNoDiff()

	t.Run("and directly once a port is forwarded", func(t *testing.T) {
		// Forwarding a port to one of them is enough.
		router := m.RouterOf(second)
		router.Exec.Nodecmd("forward", second.Address.String(), "51820")
		second.Files.WriteConfig(harness.Edit(m.Config, fmt.Sprintf("extraAnnouncedEndpoints: [%q]", netip.AddrPortFrom(router.Address, 51820))))
		direct := func(spec map[string]any) bool { return harness.IsUp(spec) && spec["relay"] == nil }
		first.API.AwaitPeer("second", direct)
		second.API.AwaitPeer("first", direct)
		awaitNotShown(first, "Relayed/second")
		first.Packets.Ping(second.API.MeshAddress())
	})
	m.AwaitNoDiff()
}
