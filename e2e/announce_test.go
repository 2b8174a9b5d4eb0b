package e2e_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/trouble"
	"github.com/spanmesh/span/e2e/lab"
)

// TestRuleBySource has a machine whose rule of another program sends packets with its source
// to the local network, as a machine with two uplinks has.
func TestRuleBySource(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a rule of another program leads packets for the mesh elsewhere")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	m.AwaitNoDiff()
	rule := netlink.NewRule()
	rule.Family, rule.Src, rule.Table = unix.AF_INET, netipx.PrefixIPNet(netip.PrefixFrom(node.Address, 32)), 101
	node.Agent.AwaitAfter(func() {
		trouble.OnLink(t, node, func(h *netlink.Handle, link netlink.Link) error {
			route := &netlink.Route{LinkIndex: link.Attrs().Index, Table: 101, Dst: netipx.PrefixIPNet(lab.Underlay.Masked())}
			return errors.Join(h.RouteAdd(route), h.RuleAdd(rule))
		})
	}, "condition code=RoutesShadowed")
	node.CLI.Try("diff").WantStatus(t, 1).WantStderr(t, "RoutesShadowed ipv4 rule 32499: packets to "+other.Address.String()+
		" from "+node.Address.String()+" leave by eth0", "set machine.network.kubespan.rulePriority below 32499")
	harness.WantText(t, "the conditions", node.CLI.Run("get", "conditions"), "RoutesShadowed", "32499")
	harness.WantText(t, "the events", node.CLI.Run("get", "events"), "RoutesShadowed")

	t.Run("a lower priority comes first", func(t *testing.T) {
		node.Agent.AwaitAfter(func() { node.Files.WriteConfig(harness.Edit(m.Config, "rulePriority: 32000")) }, "condition cleared")
		node.CLI.AwaitNoDiff()
		before := node.Net.Sent()
		node.Packets.PingMany(other.Address, 10)
		if n := node.Net.Sent() - before; n < 10 {
			t.Errorf("%d packets went into the tunnel", n)
		}
		node.Agent.AwaitAfter(func() { node.Files.WriteConfig(m.Config) }, "condition code=RoutesShadowed")
	})
	t.Run("without the rule", func(t *testing.T) {
		trouble.OnLink(t, node, func(h *netlink.Handle, _ netlink.Link) error { return h.RuleDel(rule) })
		node.API.AwaitNoCondition("RoutesShadowed")
	})
	t.Run("a rule for TCP alone", func(t *testing.T) {
		tcp := netlink.NewRule()
		tcp.Family, tcp.Priority, tcp.IPProto, tcp.Type = unix.AF_INET, 10, unix.IPPROTO_TCP, unix.RTN_PROHIBIT
		trouble.OnLink(t, node, func(h *netlink.Handle, _ netlink.Link) error { return h.RuleAdd(tcp) })
		wantCondition(t, node, "RoutesShadowed", "error", "ipv4 rule 10: TCP packets to "+other.Address.String()+" are refused", "ipproto tcp")
		node.CLI.Try("status", "--check", "ready").WantStatus(t, 1)
		node.Packets.Ping(other.Address)
		trouble.OnLink(t, node, func(h *netlink.Handle, _ netlink.Link) error { return h.RuleDel(tcp) })
		node.API.AwaitNoCondition("RoutesShadowed")
		node.Packets.Transfer(other, other.Address, 1000)
	})
	m.AwaitNoDiff()
}

// TestRuleForIPv6 has a rule of another program with a default route, before the rules of
// spanctl and then behind them.
func TestRuleForIPv6(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the mesh addresses do not depend on the main table")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	address := other.API.MeshAddress()
	node.Agent.AwaitAfter(func() {
		trouble.OnLink(t, node, func(h *netlink.Handle, link netlink.Link) error {
			rule := netlink.NewRule()
			rule.Family, rule.Priority, rule.Table = unix.AF_INET6, 100, 999
			route := &netlink.Route{LinkIndex: link.Attrs().Index, Table: 999, Dst: netipx.PrefixIPNet(netip.MustParsePrefix("::/0"))}
			return errors.Join(h.RouteAdd(route), h.RuleAdd(rule))
		})
	}, "condition code=RoutesShadowed")
	if !node.Packets.Blocked(address) {
		t.Error("the rule does not come first")
	}
	node.CLI.Try("diff").WantStatus(t, 1).WantStderr(t, "RoutesShadowed ipv6 rule 100", "rulePriority below 100")
	node.Agent.AwaitAfter(func() { node.Files.WriteConfig(harness.Edit(m.Config, "rulePriority: 99")) }, "condition cleared")
	node.Packets.Ping(address)
	other.Packets.Ping(node.API.MeshAddress())
	m.AwaitNoDiff()
}

// endpointsOf returns a condition on how many endpoints a machine has for a peer.
func endpointsOf(label string, n int) func(harness.Specs) bool {
	return func(specs harness.Specs) bool {
		for _, spec := range specs {
			if list, is := spec["endpoints"].([]any); is && spec["label"] == label && len(list) == n {
				return true
			}
		}
		return false
	}
}

// TestManyAddresses has a machine with more addresses than discovery takes, and one that grows
// while it runs.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a machine with more addresses than discovery takes is a member")
	m := harness.NewMesh(t, 3)
	many, growing, other := m.Machines[0], m.Machines[1], m.Machines[2]
	trouble.OnLink(t, many, func(h *netlink.Handle, link netlink.Link) error { return trouble.AddAddresses(h, link, 1, 71) })
	m.Start()
	m.AwaitUp()
	other.API.Await("kubespanpeerspecs", endpointsOf(many.Name, 64))
	harness.WantText(t, "the conditions", many.CLI.Run("get", "conditions"), "TooManyEndpoints", "64 of 72 endpoints", "64 of 72 addresses")

	for _, subnet := range []byte{2, 3} {
		trouble.OnLink(t, growing, func(h *netlink.Handle, link netlink.Link) error { return trouble.AddAddresses(h, link, subnet, 60) })
	}
	other.API.Await("kubespanpeerspecs", endpointsOf(growing.Name, 64))
	growing.Net.ChangeAddress(netip.MustParseAddr("172.20.0.77"))
	for _, from := range m.Machines {
		for _, to := range m.Machines {
			if from != to {
				from.Packets.Ping(to.API.MeshAddress())
			}
		}
	}
	m.AwaitNoDiff()
}

// TestLinksThatAreNotAnnounced has links whose addresses no other machine can reach, beside the
// uplink, with names that sort before it.
func TestLinksThatAreNotAnnounced(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "links that are down and overlays are not announced; filters.interfaces names others")
	m := harness.NewMesh(t, 2)
	node, other := m.Machines[0], m.Machines[1]
	trouble.OnLink(t, node, func(h *netlink.Handle, uplink netlink.Link) error {
		// The uplink has a host prefix, as in some clouds.
		if err := errors.Join(h.AddrDel(uplink, lab.Address(netip.PrefixFrom(node.Address, lab.Underlay.Bits()))),
			h.AddrAdd(uplink, lab.Address(netip.PrefixFrom(node.Address, 32))),
			h.RouteAdd(&netlink.Route{LinkIndex: uplink.Attrs().Index, Dst: netipx.PrefixIPNet(netip.MustParsePrefix("0.0.0.0/0"))})); err != nil {
			return err
		}
		// The services of kube-proxy are on a link that is down.
		down := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a-down"}, PeerName: "a-peer"}
		overlay := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "a-overlay"}, VxlanId: 7, Port: 4789, VtepDevIndex: uplink.Attrs().Index}
		inside := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "cilium_host"}, PeerName: "cilium_net"}
		for subnet, link := range map[byte]netlink.Link{1: down, 2: overlay, 3: inside} {
			n := map[byte]int{1: 60, 2: 1, 3: 1}[subnet]
			if err := h.LinkAdd(link); errors.Is(err, unix.EOPNOTSUPP) {
				continue
			} else if err != nil {
				return err
			}
			if err := trouble.AddAddresses(h, link, subnet, n); err != nil {
				return err
			}
			if link == down {
				continue
			}
			if err := h.LinkSetUp(link); err != nil {
				return err
			}
		}
		return nil
	})
	m.Start()
	m.AwaitUp()
	other.API.Await("kubespanpeerspecs", endpointsOf(node.Name, 2))
	shown := endpoints(other, node.Name)
	harness.WantText(t, "the endpoints", shown, node.Address.String()+":51820", "10.99.3.1:51820")
	if strings.Index(shown, "10.99.3.1") < strings.Index(shown, node.Address.String()) {
		t.Errorf("the address of the default route's link is not the first: %s", shown)
	}
	// Discovery keeps endpoints until they expire, but not addresses.
	other.Agent.AwaitAfter(func() { node.Files.WriteConfig(harness.Edit(m.Config, `filters: interfaces: ["!cilium_*"]`)) },
		"networks removed 10.99.3.1/32")
	other.Packets.Ping(node.API.MeshAddress())
	m.AwaitNoDiff()
}

// endpoints returns the endpoints that a machine has for a peer.
func endpoints(machine *harness.Machine, label string) string {
	for _, line := range strings.Split(machine.CLI.Run("get", "kubespanpeerspecs"), "\n") {
		if strings.Contains(line, label) {
			return line
		}
	}
	return ""
}

// TestBridgeOverAVeth has the network of a container as LXC and systemd-nspawn make it: a
// bridge over a veth has the machine's address and default route.
func TestBridgeOverAVeth(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a container whose uplink is a bridge over a veth is a member")
	m := harness.NewMesh(t, 2)
	node, other := m.Machines[0], m.Machines[1]
	trouble.OnLink(t, node, func(h *netlink.Handle, uplink netlink.Link) error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		address := lab.Address(netip.PrefixFrom(node.Address, lab.Underlay.Bits()))
		return errors.Join(h.LinkAdd(bridge), h.LinkSetMaster(uplink, bridge), h.LinkSetUp(bridge), h.AddrDel(uplink, address),
			h.AddrAdd(bridge, lab.Address(netip.PrefixFrom(node.Address, lab.Underlay.Bits()))),
			h.RouteAdd(&netlink.Route{Gw: m.Discovery.Address.AsSlice()}))
	})
	m.Start()
	m.AwaitUp()
	harness.WantText(t, "the endpoints", endpoints(other, node.Name), node.Address.String()+":51820")
	node.API.AwaitNoCondition("NetworkDown")
	before := other.Net.Sent()
	other.Packets.PingMany(node.Address, 10)
	if n := other.Net.Sent() - before; n < 10 {
		t.Errorf("%d packets went into the tunnel", n)
	}
	m.AwaitNoDiff()
}

// TestHostileEndpoints has a member that announces endpoints that no machine can use.
func TestHostileEndpoints(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "endpoints that no machine can use are refused with a reason")
	m := harness.NewMesh(t, 2)
	node, other := m.Machines[0], m.Machines[1]
	node.Files.WriteConfig(harness.Edit(m.Config,
		`extraAnnouncedEndpoints: ["127.0.0.1:9", "[ff02::1]:9", "255.255.255.255:9", "172.20.0.255:9", "`+other.Address.String()+`:51820"]`))
	m.Start()
	m.AwaitUp()
	other.API.Await("kubespanpeerspecs", endpointsOf(node.Name, 1))
	harness.WantText(t, "the conditions", other.CLI.Run("get", "conditions"), "EndpointRefused", "127.0.0.1:9 is loopback")
	harness.WantText(t, "the peer", other.CLI.Run("get", "kubespanpeerspecs", "-o", "yaml"), "is loopback", "is multicast", "is broadcast",
		"is the broadcast address of a network here", "is this machine's own")
	m.AwaitNoDiff()
}
