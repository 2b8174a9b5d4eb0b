package netlinkapply

import (
	"bufio"
	"cmp"
	"fmt"
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

// Host returns the machine's name, links and addresses, without the link of the mesh. Choose
// may overrule which links' addresses are announced. Those of links with a default route come first.
func (k *Kernel) Host(meshLink string, choose mesh.LinkChoice) (mesh.Host, error) {
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
	if i := slices.IndexFunc(links, isPhysical); i >= 0 {
		host.MAC = links[i].Attrs().HardwareAddr
	}
	if err := k.locate(&host, links, meshLink, choose); err != nil {
		return mesh.Host{}, fmt.Errorf("list addresses: %w", err)
	}
	if host.Own, host.Connected, err = k.territory(links, meshLink); err != nil {
		return mesh.Host{}, fmt.Errorf("list addresses: %w", err)
	}
	host.Forwards, host.ForwardsIPv4 = sysctl("ipv6/conf/all/forwarding") == "1", sysctl("ipv4/ip_forward") == "1"
	return host, nil
}

// locate sets the links of a host that lead to other machines, and the addresses to announce.
func (k *Kernel) locate(host *mesh.Host, links []netlink.Link, meshLink string, choose mesh.LinkChoice) error {
	byLink, err := k.reachable()
	if err != nil {
		return err
	}
	gateways := k.gateways()
	leads := make(map[int]bool, len(gateways))
	for index := range gateways {
		leads[index] = true
	}
	announcer := newAnnouncer(links, meshLink, choose, leads)
	var others []netip.Addr
	for _, link := range links {
		attrs := link.Attrs()
		at := byLink[attrs.Index]
		if !announcer.announces(link, slices.ContainsFunc(at.networks, func(n netip.Prefix) bool { return !n.IsSingleIP() })) {
			at = location{}
		}
		if leads[attrs.Index] {
			host.Addresses = append(host.Addresses, at.addresses...)
		} else {
			others = append(others, at.addresses...)
		}
		if attrs.Name != meshLink && (leads[attrs.Index] || len(at.networks) > 0) {
			host.Links = append(host.Links, mesh.Link{Name: attrs.Name, MTU: attrs.MTU, Networks: at.networks,
				Default: leads[attrs.Index], Gateway: gateways[attrs.Index], Up: attrs.RawFlags&unix.IFF_LOWER_UP != 0})
		}
	}
	host.OnDefault = len(host.Addresses)
	host.Addresses = append(host.Addresses, others...)
	host.Offline = offline(links, newAnnouncer(links, meshLink, nil, leads), byLink)
	return nil
}

// location is where a link is in the network.
type location struct {
	addresses []netip.Addr
	networks  []netip.Prefix
}

// reachable returns the addresses at which other machines can reach this one, by the
// index of the link.
func (k *Kernel) reachable() (map[int]location, error) {
	addresses, err := dump(func() ([]netlink.Addr, error) { return k.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	byLink := map[int]location{}
	for _, a := range addresses {
		address, ok := netipx.FromStdIP(a.IP)
		if !ok || !isReachable(a, address) {
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
		case "veth", "netkit", kindTUN:
		default:
			if !isOverlayKind(link) {
				delete(inner, link.Attrs().MasterIndex)
			}
		}
	}
	return inner
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
