package e2e_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// TestDamageIsSeenAndRepaired does by hand what people and programs do to a
// machine's network: first while the agent is stopped, so that diff sees it, then
// while it runs, so that it repairs it.
func TestDamageIsSeenAndRepaired(t *testing.T) {
	scenario(t, "others change what is spanctl's")
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	node.awaitClean()
	peer := strings.TrimSpace(node.role("peers"))
	damages := []struct {
		name, role, arg string
		line            string
	}{
		{"the address is deleted", "delete-address", "", "+ address fd"},
		{"a peer is removed with wgctrl", "remove-peer", peer, "+ peer " + peer},
		{"the nftables table is flushed", "flush-table", "", "~ nftables inet spanctl"},
		{"a rule is deleted", "delete-rules", "", "+ rule ipv6 32500"},
	}
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			if err := node.agent.Stop(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			node.role(d.role, d.arg)
			if o := node.try("diff", "-o", "text"); o.status != 1 || !strings.Contains(o.stdout, d.line) {
				t.Errorf("diff: status %d, want %q in\n%s%s", o.status, d.line, o.stdout, o.stderr)
			}
			node.startAgent()
			node.await(node.agent, d.line)
			node.awaitClean()

			node.awaitUp(1)
			node.after(func() { node.role(d.role, d.arg) }, d.line)
			node.awaitClean()
			m.machines[1].ping(node.meshAddress())
		})
	}
}

// neighbours are what others have on a machine beside every place that spanctl
// uses.
func (m *machine) neighbours() {
	m.t.Helper()
	err := m.Netlink(func(h *netlink.Handle) error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "foreign0"}}
		if err := h.LinkAdd(bridge); err != nil {
			return err
		}
		if err := h.LinkSetUp(bridge); err != nil {
			return err
		}
		_, network, _ := net.ParseCIDR("203.0.113.0/24")
		route := &netlink.Route{LinkIndex: bridge.Attrs().Index, Table: 181, Dst: network, Protocol: unix.RTPROT_STATIC}
		if err := h.RouteAdd(route); err != nil {
			return err
		}
		rule := netlink.NewRule()
		rule.Family, rule.Priority, rule.Table, rule.Mark = unix.AF_INET, 32501, 77, 0x1000
		return h.RuleAdd(rule)
	})
	if err != nil {
		m.t.Fatal(err)
	}
	err = m.Namespace(func(ns netns.NsHandle) error {
		conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
		if err != nil {
			return err
		}
		table := conn.AddTable(&nftables.Table{Name: "foreign", Family: nftables.TableFamilyINet})
		conn.AddChain(&nftables.Chain{Table: table, Name: "c"})
		return conn.Flush()
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// inventory describes all links, addresses, routes, rules and nftables tables
// of a machine, but for what the kernel makes for link-local traffic in its own
// time.
func (m *machine) inventory() string {
	m.t.Helper()
	var b strings.Builder
	err := m.Netlink(func(h *netlink.Handle) error {
		links, err := h.LinkList()
		if err != nil {
			return err
		}
		names := map[int]string{}
		for _, l := range links {
			names[l.Attrs().Index] = l.Attrs().Name
			fmt.Fprintf(&b, "link %s %s\n", l.Type(), l.Attrs().Name)
		}
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			addresses, err := h.AddrList(nil, family)
			if err != nil {
				return err
			}
			for _, a := range addresses {
				if a.IP.IsLinkLocalUnicast() {
					continue
				}
				fmt.Fprintf(&b, "address %s on %s\n", a.IPNet, names[a.LinkIndex])
			}
			routes, err := h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
			if err != nil {
				return err
			}
			for _, r := range routes {
				if r.Dst != nil && (r.Dst.IP.IsLinkLocalUnicast() || r.Dst.IP.IsMulticast()) {
					continue
				}
				fmt.Fprintf(&b, "route %s table %d dev %s protocol %d\n", r.Dst, r.Table, names[r.LinkIndex], r.Protocol)
			}
			rules, err := h.RuleList(family)
			if err != nil {
				return err
			}
			for _, r := range rules {
				fmt.Fprintf(&b, "rule %d %d table %d mark %#x\n", family, r.Priority, r.Table, r.Mark)
			}
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	err = m.Namespace(func(ns netns.NsHandle) error {
		conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
		if err != nil {
			return err
		}
		tables, err := conn.ListTables()
		if err != nil {
			return err
		}
		for _, table := range tables {
			fmt.Fprintf(&b, "table %d %s\n", table.Family, table.Name)
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return b.String()
}
