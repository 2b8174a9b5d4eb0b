package harness

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// Net is the kernel's network configuration of a machine.
type Net struct{ m *Machine }

// MeshAddress returns the mesh address of the machine's link, whether or not an agent runs.
func (n Net) MeshAddress() netip.Addr {
	n.m.t.Helper()
	address, err := netip.ParseAddr(strings.TrimSpace(n.m.Exec.Nodecmd("address")))
	if err != nil {
		n.m.t.Fatal(err)
	}
	return address
}

// LinkKind returns the kind of the mesh's link.
func (n Net) LinkKind() (kind string) {
	n.m.t.Helper()
	n.netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(nodecmd.MeshLink)
		if err == nil {
			kind = link.Type()
		}
		return err
	})
	return kind
}

// HasLink reports whether the mesh's link exists.
func (n Net) HasLink() bool {
	n.m.t.Helper()
	err := n.m.Netlink(func(h *netlink.Handle) error {
		_, err := h.LinkByName(nodecmd.MeshLink)
		return err
	})
	if err != nil && !errors.As(err, &netlink.LinkNotFoundError{}) {
		n.m.t.Fatal(err)
	}
	return err == nil
}

// Received returns how many packets came out of the tunnel.
func (n Net) Received() int {
	n.m.t.Helper()
	return n.count("received")
}

// Sent returns how many packets went into the tunnel.
func (n Net) Sent() int {
	n.m.t.Helper()
	return n.count("sent")
}

func (n Net) count(command string) int {
	n.m.t.Helper()
	count, err := strconv.Atoi(strings.TrimSpace(n.m.Exec.Nodecmd(command)))
	if err != nil {
		n.m.t.Fatal(err)
	}
	return count
}

// SetMTU sets the MTU of the machine's link to the lab's network, in bytes.
func (n Net) SetMTU(mtu int) {
	n.m.t.Helper()
	n.onLabLink(func(h *netlink.Handle, link netlink.Link) error { return h.LinkSetMTU(link, mtu) })
}

// SetLink sets the machine's link to the lab's network up or down.
func (n Net) SetLink(up bool) {
	n.m.t.Helper()
	n.onLabLink(func(h *netlink.Handle, link netlink.Link) error {
		if up {
			return h.LinkSetUp(link)
		}
		return h.LinkSetDown(link)
	})
}

// ChangeAddress replaces the machine's address on the lab's network.
func (n Net) ChangeAddress(to netip.Addr) {
	n.m.t.Helper()
	n.onLabLink(func(h *netlink.Handle, link netlink.Link) error {
		if err := h.AddrDel(link, lab.Address(netip.PrefixFrom(n.m.Address, lab.Underlay.Bits()))); err != nil {
			return err
		}
		return h.AddrAdd(link, lab.Address(netip.PrefixFrom(to, lab.Underlay.Bits())))
	})
	n.m.Address = to
}

// AddForeignObjects adds objects of other programs beside every place that spanctl uses.
func (n Net) AddForeignObjects() {
	n.m.t.Helper()
	n.netlink(func(h *netlink.Handle) error {
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
	n.nftables(func(conn *nftables.Conn) error {
		table := conn.AddTable(&nftables.Table{Name: "foreign", Family: nftables.TableFamilyINet})
		conn.AddChain(&nftables.Chain{Table: table, Name: "c"})
		return conn.Flush()
	})
}

// Inventory describes all links, addresses, routes, rules and nftables tables. It leaves
// out what the kernel makes for link-local traffic at a time of its own.
func (n Net) Inventory() string {
	n.m.t.Helper()
	var b strings.Builder
	n.netlink(func(h *netlink.Handle) error {
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
			if err := describe(&b, h, family, names); err != nil {
				return err
			}
		}
		return nil
	})
	n.nftables(func(conn *nftables.Conn) error {
		tables, err := conn.ListTables()
		for _, table := range tables {
			fmt.Fprintf(&b, "table %d %s\n", table.Family, table.Name)
		}
		return err
	})
	return b.String()
}

// describe writes the addresses, routes and rules of a family.
func describe(b *strings.Builder, h *netlink.Handle, family int, names map[int]string) error {
	addresses, err := h.AddrList(nil, family)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if !a.IP.IsLinkLocalUnicast() {
			fmt.Fprintf(b, "address %s on %s\n", a.IPNet, names[a.LinkIndex])
		}
	}
	routes, err := h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Dst == nil || !r.Dst.IP.IsLinkLocalUnicast() && !r.Dst.IP.IsMulticast() {
			fmt.Fprintf(b, "route %s table %d dev %s protocol %d\n", r.Dst, r.Table, names[r.LinkIndex], r.Protocol)
		}
	}
	rules, err := h.RuleList(family)
	for _, r := range rules {
		fmt.Fprintf(b, "rule %d %d table %d mark %#x\n", family, r.Priority, r.Table, r.Mark)
	}
	return err
}

func (n Net) onLabLink(use func(*netlink.Handle, netlink.Link) error) {
	n.m.t.Helper()
	n.netlink(func(h *netlink.Handle) error {
		link, err := nodecmd.LabLink(h)
		if err != nil {
			return err
		}
		return use(h, link)
	})
}

func (n Net) netlink(use func(*netlink.Handle) error) {
	n.m.t.Helper()
	if err := n.m.Netlink(use); err != nil {
		n.m.t.Fatal(err)
	}
}

func (n Net) nftables(use func(*nftables.Conn) error) {
	n.m.t.Helper()
	err := n.m.Namespace(func(ns netns.NsHandle) error {
		conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
		if err != nil {
			return err
		}
		return use(conn)
	})
	if err != nil {
		n.m.t.Fatal(err)
	}
}
