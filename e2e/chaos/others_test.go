package chaos

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/internal/trouble"
	"github.com/spanmesh/span/e2e/lab"
)

// programActions are what other programs do for as long as they run, and what firewalls and paths do.
var programActions = map[string]action{
	"fight-for-table": {weight: 1, layers: []string{theTable}, do: func(w *world, n *node, _ int) {
		n.damages = max(n.damages, repairsInARow)
		w.keepRunning(n, "delete-tables")
	}},
	"keep-stopped": {weight: 1, restarts: true, layers: []string{theLink}, do: func(w *world, n *node, _ int) {
		w.keepRunning(n, "keep-stopped")
		w.onHeal(resumed, "WireGuard of "+n.Name, func() { w.try(n.Machine, "signal-wireguard", "SIGCONT") })
	}},
	"occupy-table": {weight: 1, do: func(w *world, n *node, _ int) {
		if _, ok := w.try(n.Machine, "occupy-table", "180"); ok {
			w.onHeal(around, "table of "+n.Name, func() { w.try(n.Machine, "free-table", "180") })
		}
	}},
	"occupy-priority": {weight: 1, do: func(w *world, n *node, _ int) {
		if _, ok := w.try(n.Machine, "occupy-priority", "32500"); ok {
			w.onHeal(around, "priority of "+n.Name, func() { w.try(n.Machine, "free-priority", "32500") })
		}
	}},
	"share-mark": {weight: 1, do: func(w *world, n *node, _ int) {
		mask := uint32(0x60)
		rule := netlink.NewRule()
		rule.Family, rule.Priority, rule.Table, rule.Mark, rule.Mask = unix.AF_INET, 5000, 77, mask, &mask
		if err := n.Netlink(func(h *netlink.Handle) error { return h.RuleAdd(rule) }); err != nil {
			w.note("  rule of %s: %v", n.Name, err)
			return
		}
		w.onHeal(around, "rule of "+n.Name, func() {
			w.fault(n.Netlink(func(h *netlink.Handle) error { return h.RuleDel(rule) }))
		})
	}},
	"rename-link": {weight: 1, layers: []string{theLink}, do: nodeCommand("rename-link", nodecmd.MeshLink, "zz0")},
	"lose-socket": {weight: 1, restarts: true, layers: []string{theLink}, do: func(w *world, n *node, _ int) {
		w.command(n.Machine, "rm", "-f", "/var/run/wireguard/"+nodecmd.MeshLink+".sock")
	}},
	"disable-ipv6": {weight: 1, layers: []string{theRoutes}, do: func(w *world, n *node, _ int) {
		w.command(n.Machine, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/"+nodecmd.MeshLink+"/disable_ipv6")
	}},
	"drop-large": {weight: 1, do: func(w *world, n *node, argument int) {
		w.filter(n, nodecmd.LargeTable, "drop-large", []string{"1460", "1400", "1352"}[argument%3])
	}},
	"drop-echoes": {weight: 1, do: func(w *world, n *node, _ int) { w.filter(n, nodecmd.EchoTable, "drop-echoes") }},
	"small-path": {weight: 1, do: func(w *world, n *node, argument int) {
		n.Net.SetMTU([]int{1280, 1400}[argument%2])
		w.onHeal(around, "MTU of "+n.Name, func() { n.Net.SetMTU(1500) })
	}},
}

// keepRunning runs a command of package nodecmd in a machine until faults are healed.
func (w *world) keepRunning(n *node, name string, args ...string) {
	heal := name + " on " + n.Name
	if w.isToHeal(around, heal) {
		return
	}
	running := n.Exec.StartNodecmd(name, args...)
	w.onHeal(around, heal, func() { _ = running.Stop(unix.SIGTERM) })
}

// filter runs a command that makes an nftables table, until faults are healed.
func (w *world) filter(n *node, table, name string, args ...string) {
	w.try(n.Machine, name, args...)
	w.onHeal(around, table+" of "+n.Name, func() { w.try(n.Machine, "delete-table", table) })
}

// operatorActions are what operators do, also by mistake.
var operatorActions = map[string]action{
	"cut-power": {weight: 1, layers: []string{theLink}, restarts: true, do: func(w *world, n *node, _ int) {
		n.Net.SetLink(false)
		w.onHeal(around, "plug of "+n.Name, func() { w.plug(n) })
		w.endAgent(n, unix.SIGKILL)
		w.try(n.Machine, "kill-wireguard")
	}},
	"apply-config": {weight: 1, do: func(w *world, n *node, argument int) { w.apply(n, argument, "--immediate") }},
	"stage-config": {weight: 1, do: func(w *world, n *node, argument int) { w.apply(n, argument, "--mode", "staged") }},
	"rollback": {weight: 1, exposes: true, restarts: true, do: func(w *world, n *node, _ int) {
		w.restoreConfig(n)
		w.spanctl(n, "rollback")
	}},
	"open-files": {weight: 1, do: func(w *world, n *node, argument int) {
		w.setConfigMode(n, []os.FileMode{0o644, 0o666, 0o604}[argument%3])
		w.onHeal(around, "mode of the config of "+n.Name, func() { w.setConfigMode(n, 0o600) })
	}},
	"same-hostname": {weight: 1, do: func(w *world, n *node, argument int) {
		w.try(n.Machine, "set-hostname", w.nodes[argument%len(w.nodes)].Name)
		w.onHeal(around, "hostname of "+n.Name, func() { w.try(n.Machine, "set-hostname", n.Name) })
	}},
	"many-addresses": {weight: 1, do: (*world).addAddresses},
}

// setConfigMode sets the mode of a machine's config, which may be missing.
func (w *world) setConfigMode(n *node, mode os.FileMode) {
	if err := os.Chmod(n.Config(), mode); err != nil && !errors.Is(err, os.ErrNotExist) {
		w.fault(err)
	}
}

// apply applies the machine's config with a setting more, until faults are healed.
func (w *world) apply(n *node, argument int, how ...string) {
	setting := settings[argument%len(settings)]
	n.restarts = n.restarts || setting == otherName
	w.restoreConfig(n)
	file := n.Files.Write("next.cue", harness.Edit(n.config, setting))
	w.spanctl(n, slices.Concat([]string{"apply", "-f", file}, how)...)
}

// addAddresses gives a machine more addresses than are announced.
func (w *world) addAddresses(n *node, argument int) {
	const subnet = 1
	heal := fmt.Sprint("addresses of ", n.Name)
	if w.isToHeal(around, heal) {
		return
	}
	change := func(do func(h *netlink.Handle, link netlink.Link) error) {
		w.fault(n.Netlink(func(h *netlink.Handle) error {
			link, err := nodecmd.LabLink(h)
			if err != nil {
				return err
			}
			return do(h, link)
		}))
	}
	many := 65 + argument%60
	change(func(h *netlink.Handle, link netlink.Link) error { return trouble.AddAddresses(h, link, subnet, many) })
	w.onHeal(around, heal, func() {
		change(func(h *netlink.Handle, link netlink.Link) error {
			for i := range many {
				address := netip.AddrFrom4([4]byte{10, 99, subnet, byte(i + 1)})
				if err := h.AddrDel(link, lab.Address(netip.PrefixFrom(address, 32))); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
