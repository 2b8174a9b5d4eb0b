package e2e_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// secondAddress is another one of the discovery server: it takes two to learn the kind of a NAT.
const secondAddress = "172.20.0.200"

// withTwoServers returns a mesh without machines, whose discovery server has two addresses.
func withTwoServers(t *testing.T) *harness.Mesh {
	t.Helper()
	m := harness.NewMesh(t, 0)
	second := netip.MustParseAddr(secondAddress)
	if err := m.Discovery.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(lab.Link)
		if err != nil {
			return err
		}
		return h.AddrAdd(link, lab.Address(netip.PrefixFrom(second, lab.Underlay.Bits())))
	}); err != nil {
		t.Fatal(err)
	}
	m.Config = harness.Edit(m.Config, fmt.Sprintf(`nat: servers: ["%v:%s", "%v:%[2]s"]`, m.Discovery.Address, harness.DiscoveryPort, second))
	return m
}

// TestOutsideAddresses has machines behind NATs, and none that sees both.
func TestOutsideAddresses(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "two machines behind NATs that give all destinations one port meet without a third machine; behind a symmetric NAT no port is announced, and the kind is said")
	m := withTwoServers(t)
	home, office := m.AddBehindNAT(lab.Cone, "home"), m.AddBehindNAT(lab.Preserving, "office")
	hotel := m.AddBehindNAT(lab.Symmetric, "hotel")
	m.Start()
	outside := func(machine *harness.Machine, port int) string {
		return fmt.Sprintf("%v:%d", m.RouterOf(machine).Address, port)
	}
	at := func(endpoint string) func(map[string]any) bool {
		return func(spec map[string]any) bool { return harness.IsUp(spec) && spec["endpoint"] == endpoint }
	}
	home.API.AwaitPeer("office", at(outside(office, 51820)))
	office.API.AwaitPeer("home", at(outside(home, lab.MappedPort)))
	home.Packets.Ping(office.API.MeshAddress())
	office.Packets.Ping(home.API.MeshAddress())
	harness.WantText(t, "status of home", home.CLI.Run("status"), outside(home, lab.MappedPort)+" for everybody, announced")

	hotel.API.Await("healthstates", func(specs harness.Specs) bool { return strings.Contains(fmt.Sprint(specs), "nat:dependent") })
	harness.WantText(t, "status of hotel", hotel.CLI.Try("status").Stdout, fmt.Sprintf("%v, another port for each destination: not announced", m.RouterOf(hotel).Address))
	home.API.Await("affiliates", func(specs harness.Specs) bool { return strings.Contains(fmt.Sprint(specs), outside(hotel, 51820)) })
	for _, text := range strings.Split(home.CLI.Run("get", "affiliates", "-o", "yaml"), "\n") {
		if prefix := m.RouterOf(hotel).Address.String() + ":"; strings.Contains(text, prefix) && !strings.Contains(text, outside(hotel, 51820)) {
			t.Errorf("the machine behind the symmetric NAT announces %s", text)
		}
	}
	wantLines(t, hotel.CLI.Try("doctor").Stdout, fmt.Sprintf("ok   nat %s sees %v, and this machine has %v: there is a NAT (IPv4); it gives UDP 51820 another port for each destination",
		m.Endpoint(), m.RouterOf(hotel).Address, hotel.Address))
	harness.WantText(t, "metrics", m.Discovery.Exec.Get(m.Endpoint()+"/metrics").Body, `spanctl_discovery_stun_requests_total{result="answered"}`)

	t.Run("where it is turned off", func(t *testing.T) {
		home.Files.WriteConfig(strings.Replace(m.Config, "nat: servers", "nat: stun: false, nat: servers", 1))
		// The discovery server keeps an endpoint for half an hour.
		home.API.Await("affiliates", func(specs harness.Specs) bool {
			return !strings.Contains(fmt.Sprint(specs), outside(home, lab.MappedPort))
		})
		home.API.Await("healthstates", func(specs harness.Specs) bool { return !strings.Contains(fmt.Sprint(specs), "nat:") })
	})
	m.AwaitNoDiff()
}
