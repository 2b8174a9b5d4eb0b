package chaos

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/internal/trouble"
)

// The nftables tables of the mesh's link.
const (
	mainTable  = "spanctl-" + nodecmd.MeshLink
	guardTable = "spanguard-" + nodecmd.MeshLink
)

// kernelActions change or delete what spanctl has made in the kernel, as other programs do.
var kernelActions = map[string]action{
	"delete-link":    {weight: 2, layers: []string{theLink}, restarts: true, do: nodeCommand("delete-link")},
	"delete-address": {weight: 1, do: nodeCommand("delete-address")},
	"flush-routes":   {weight: 2, layers: []string{theRoutes}, do: nodeCommand("flush-routes")},
	"delete-rule":    {weight: 1, layers: []string{theRules}, do: nodeCommand("delete-rules")},
	"delete-rules":   {weight: 2, layers: []string{theRules}, do: nodeCommand("delete-all-rules")},
	"flush-table":    {weight: 1, layers: []string{theTable}, do: nodeCommand("flush-named-table", mainTable)},
	"delete-table":   {weight: 2, layers: []string{theTable}, do: nodeCommand("delete-table", mainTable)},
	"flush-guard":    {weight: 1, layers: []string{theGuard}, do: nodeCommand("flush-named-table", guardTable)},
	"delete-guard":   {weight: 1, layers: []string{theGuard}, do: nodeCommand("delete-table", guardTable)},
	"flush-ruleset":  {weight: 1, layers: []string{theTable, theGuard}, do: nodeCommand("flush-ruleset")},
	"set-device": {weight: 3, do: func(w *world, n *node, argument int) {
		settings := []string{"fwmark", "listen-port", "private-key", "allowed-ips"}
		w.try(n.Machine, "set-device", settings[argument%len(settings)])
	}},
	"remove-peer": {weight: 3, do: func(w *world, n *node, argument int) {
		out, ok := w.try(n.Machine, "peers")
		if peers := strings.Fields(out); ok && len(peers) > 0 {
			w.try(n.Machine, "remove-peer", peers[argument%len(peers)])
		}
	}},
	"set-link": {weight: 2, layers: []string{theLink}, do: func(w *world, n *node, argument int) {
		w.onLink(n, nodecmd.MeshLink, func(h *netlink.Handle, link netlink.Link) error {
			if argument%2 == 0 {
				return h.LinkSetDown(link)
			}
			return h.LinkSetMTU(link, 1280+argument%100)
		})
	}},
	"shadow": {weight: 1, do: func(w *world, n *node, _ int) {
		w.try(n.Machine, "shadow")
		w.onHeal(around, "rules of "+n.Name, func() { w.try(n.Machine, "unshadow") })
	}},
	// Which program is the last to set the mark decides where packets go.
	"rewrite-marks": {weight: 2, layers: []string{theRules}, do: func(w *world, n *node, argument int) {
		w.try(n.Machine, "rewrite-marks", []string{"-150", "10"}[argument%2], []string{"0x20", "0", "0x40"}[argument/2%3])
		w.onHeal(around, "marks of "+n.Name, func() { w.try(n.Machine, "delete-table", nodecmd.RewritingTable) })
	}},
	"drop-into-mesh": {weight: 1, do: func(w *world, n *node, _ int) {
		w.try(n.Machine, "drop-into-mesh")
		w.onHeal(around, "the filter of "+n.Name, func() { w.try(n.Machine, "delete-table", nodecmd.TunnelTable) })
	}},
}

// nodeCommand returns an action's function that runs a command of package nodecmd.
func nodeCommand(name string, args ...string) func(*world, *node, int) {
	return func(w *world, n *node, _ int) { w.try(n.Machine, name, args...) }
}

// onLink changes a link of a machine, if it is there.
func (w *world) onLink(n *node, name string, change func(*netlink.Handle, netlink.Link) error) {
	err := n.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		return change(h, link)
	})
	if err != nil {
		w.note("  %s of %s: %v", name, n.Name, err)
	}
}

// networkActions are those on the networks between the machines.
var networkActions = map[string]action{
	"unplug": {weight: 2, do: func(w *world, n *node, _ int) {
		n.Net.SetLink(false)
		w.onHeal(around, "plug of "+n.Name, func() { w.plug(n) })
	}},
	"flap": {weight: 2, do: func(w *world, n *node, argument int) {
		for range 1 + argument%4 {
			n.Net.SetLink(false)
			w.plug(n)
		}
	}},
	"partition": {weight: 3, do: func(w *world, n *node, argument int) {
		other := w.nodes[argument%len(w.nodes)]
		if other == n {
			return
		}
		w.block(n, "in", other)
		w.block(other, "in", n)
	}},
	"block-udp": {weight: 3, do: func(w *world, n *node, argument int) {
		w.block(n, []string{"in", "out", "reject"}[argument%3])
	}},
	"block-discovery": {weight: 2, do: func(w *world, n *node, argument int) {
		w.try(n.Machine, "block", "tcp", harness.DiscoveryPort, "out", w.serverOf(argument).machine.Address.String())
		w.pass(n)
	}},
	"lose": {weight: 2, do: func(w *world, n *node, argument int) {
		w.try(n.Machine, "lose", fmt.Sprint(10+argument%40))
		w.onHeal(around, "loss at "+n.Name, func() { w.try(n.Machine, "delete-table", "loss") })
	}},
	"reboot-nat": {weight: 2, do: func(w *world, _ *node, _ int) { w.fault(w.router.ForgetMappings()) }},
	"nat-without-udp": {weight: 2, do: func(w *world, _ *node, _ int) {
		w.fault(w.router.BlockUDP())
		w.onHeal(around, "UDP of the router", func() { w.fault(w.router.UnblockUDP()) })
	}},
	"renumber": {weight: 2, exposes: true, do: func(w *world, n *node, _ int) {
		if n == w.nodes[machines-1] {
			return // it would lose its gateway
		}
		to := n.home
		if n.Address == n.home {
			to = netip.AddrFrom4([4]byte{n.home.As4()[0], n.home.As4()[1], n.home.As4()[2], n.home.As4()[3] + 100})
		}
		n.Net.ChangeAddress(to)
		w.try(n.Machine, "default-route", n.gateway.String())
	}},
}

// plug sets the link to the network up, and makes the default route again that the machine has lost.
func (w *world) plug(n *node) {
	n.Net.SetLink(true)
	w.try(n.Machine, "default-route", n.gateway.String())
}

// block keeps WireGuard's packets from passing at a machine, as trouble.BlockUDP does.
func (w *world) block(n *node, way string, others ...*node) {
	var from []*harness.Machine
	for _, other := range others {
		from = append(from, other.Machine)
	}
	trouble.BlockUDP(n.Machine, way, from...)
	w.pass(n)
}

// pass lets all pass again that is blocked at a machine, when faults are healed.
func (w *world) pass(n *node) {
	w.onHeal(around, "firewall of "+n.Name, func() { w.try(n.Machine, "delete-table", nodecmd.BlockTable) })
}

func (w *world) serverDisk() string { return filepath.Dir(w.servers[1].store) }

// fill leaves no room on a disk, until faults are healed.
func (w *world) fill(m *harness.Machine, disk string) {
	w.try(m, "fill", disk, "true")
	w.onHeal(around, "disk of "+m.Name, func() { w.try(m, "fill", disk, "false") })
}
