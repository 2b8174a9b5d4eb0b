package netlinkapply

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Host returns the machine's name, links and addresses, without the link of the mesh.
func (k *Kernel) Host(meshLink string) (mesh.Host, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return mesh.Host{}, fmt.Errorf("read the host name: %w", err)
	}
	host := mesh.Host{Hostname: hostname, OperatingSystem: operatingSystem("/etc/os-release")}
	links, err := dump(k.handle.LinkList)
	if err != nil {
		return mesh.Host{}, fmt.Errorf("list links: %w", err)
	}
	slices.SortFunc(links, func(a, b netlink.Link) int { return cmp.Compare(a.Attrs().Name, b.Attrs().Name) })
	meshLink = k.presentName(meshLink, links)
	inner, carried := innerBridges(links), carriedBy(links, meshLink)
	wanted := map[int]bool{}
	for _, link := range links {
		attrs := link.Attrs()
		if host.MAC == nil && isPhysical(link) {
			host.MAC = attrs.HardwareAddr
		}
		wanted[attrs.Index] = attrs.Name != meshLink && attrs.Flags&net.FlagLoopback == 0 && !inner[attrs.Index] && !carried[attrs.Index]
	}
	byLink, err := k.reachable(wanted)
	if err != nil {
		return mesh.Host{}, fmt.Errorf("list addresses: %w", err)
	}
	gateways := k.gateways()
	for _, link := range links {
		attrs := link.Attrs()
		at := byLink[attrs.Index]
		host.Addresses = append(host.Addresses, at.addresses...)
		gateway, leads := gateways[attrs.Index]
		if attrs.Name != meshLink && (leads || len(at.networks) > 0) {
			host.Links = append(host.Links, mesh.Link{Name: attrs.Name, MTU: attrs.MTU, Networks: at.networks,
				Default: leads, Gateway: gateway, Up: attrs.RawFlags&unix.IFF_LOWER_UP != 0})
		}
	}
	if host.Own, host.Connected, err = k.territory(links, meshLink); err != nil {
		return mesh.Host{}, fmt.Errorf("list addresses: %w", err)
	}
	host.Forwards = sysctl("ipv6/conf/all/forwarding") == "1"
	return host, nil
}

// location is where a link is in the network.
type location struct {
	addresses []netip.Addr
	networks  []netip.Prefix
}

// reachable returns the addresses at which other machines can reach this one, by the
// index of the link.
func (k *Kernel) reachable(wanted map[int]bool) (map[int]location, error) {
	addresses, err := dump(func() ([]netlink.Addr, error) { return k.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	byLink := map[int]location{}
	for _, a := range addresses {
		address, ok := netipx.FromStdIP(a.IP)
		if !ok || !wanted[a.LinkIndex] || !isReachable(a, address) {
			continue
		}
		at := byLink[a.LinkIndex]
		at.addresses = append(at.addresses, address)
		if network, ok := netipx.FromStdIPNet(a.IPNet); ok {
			at.networks = append(at.networks, network.Masked())
		}
		byLink[a.LinkIndex] = at
	}
	return byLink, nil
}

// outside are public addresses. The kernel is asked for the route to them; nothing is sent.
var outside = []netip.Addr{netip.MustParseAddr("1.0.0.1"), netip.MustParseAddr("2000::1")}

// gateways returns the links of default routes by index, each with its gateway, if it has
// one. It looks up one route per family rather than listing all: a router may have a million.
func (k *Kernel) gateways() map[int]netip.Addr {
	gateways := map[int]netip.Addr{}
	for _, address := range outside {
		routes, err := k.handle.RouteGet(address.AsSlice())
		if err != nil {
			continue // no route
		}
		for _, r := range routes {
			if _, known := gateways[r.LinkIndex]; !known && r.LinkIndex != 0 {
				gateways[r.LinkIndex], _ = netipx.FromStdIP(r.Gw)
			}
		}
	}
	return gateways
}

// systemSettings has the sysctl settings of this network namespace.
const systemSettings = "/proc/sys/net"

// sysctl returns the setting at a path below net, "" if there is none.
func sysctl(path string) string {
	value, err := os.ReadFile(filepath.Join(systemSettings, path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(value))
}

// isPhysical reports whether link is a network card: Ethernet and not virtual.
func isPhysical(link netlink.Link) bool {
	attrs := link.Attrs()
	return link.Type() == "device" && attrs.EncapType == "ether" && len(attrs.HardwareAddr) == 6
}

// isReachable reports whether other machines can use the address, now and for some time.
func isReachable(a netlink.Addr, address netip.Addr) bool {
	passing := unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
	if address.Is6() {
		// IPv4 has the same bit for a secondary address, which stays.
		passing |= unix.IFA_F_TEMPORARY
	}
	return address.IsGlobalUnicast() && a.Scope == int(netlink.SCOPE_UNIVERSE) && a.Flags&passing == 0
}

// innerBridges returns the bridges that only connect containers and virtual machines of this
// host. Every host may have the same addresses on such a bridge. A bridge with a network card
// as a port is not one of them.
func innerBridges(links []netlink.Link) map[int]bool {
	inner := map[int]bool{}
	for _, link := range links {
		if link.Type() == "bridge" {
			inner[link.Attrs().Index] = true
		}
	}
	for _, link := range links {
		switch link.Type() {
		case "veth", kindTUN:
		default:
			delete(inner, link.Attrs().MasterIndex)
		}
	}
	return inner
}

// carriedBy returns the links that send their packets over the mesh's link, such as the VXLAN
// of a network plugin. Their addresses are no endpoints: only members of the mesh reach them.
func carriedBy(links []netlink.Link, meshLink string) map[int]bool {
	carried := map[int]bool{}
	at := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == meshLink })
	if at < 0 {
		return carried
	}
	mesh := links[at].Attrs().Index
	for _, link := range links {
		attrs := link.Attrs()
		// ParentIndex may belong to another namespace, such as that of the other end of a veth pair.
		below := attrs.ParentIndex
		if attrs.NetNsID >= 0 {
			below = 0
		}
		if vxlan, is := link.(*netlink.Vxlan); is {
			below = vxlan.VtepDevIndex
		}
		carried[attrs.Index] = below == mesh
	}
	return carried
}

// operatingSystem returns PRETTY_NAME of an os-release(5) file, "Linux" without one.
func operatingSystem(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return "Linux"
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			if name, err := strconv.Unquote(value); err == nil {
				return name
			}
			return value
		}
	}
	return "Linux"
}
