package e2e_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// onLink changes the network of a machine, with its link to the lab's network.
func onLink(t *testing.T, machine *harness.Machine, change func(h *netlink.Handle, link netlink.Link) error) {
	t.Helper()
	err := machine.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(lab.Link)
		if err != nil {
			return err
		}
		return change(h, link)
	})
	if err != nil {
		t.Fatal(err)
	}
}

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
		onLink(t, node, func(h *netlink.Handle, link netlink.Link) error {
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
		node.Agent.AwaitAfter(func() {
			onLink(t, node, func(h *netlink.Handle, _ netlink.Link) error { return h.RuleDel(rule) })
		}, "condition cleared")
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
		onLink(t, node, func(h *netlink.Handle, link netlink.Link) error {
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
