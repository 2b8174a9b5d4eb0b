package netlinkapply

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Host tells the machine's name and addresses, without those of the mesh's own
// link.
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
	inner := innerBridges(links)
	wanted := map[int]bool{}
	for _, link := range links {
		attrs := link.Attrs()
		if host.MAC == nil && isPhysical(link) {
			host.MAC = attrs.HardwareAddr
		}
		wanted[attrs.Index] = attrs.Name != meshLink && attrs.Flags&net.FlagLoopback == 0 && !inner[attrs.Index]
	}
	addresses, err := dump(func() ([]netlink.Addr, error) { return k.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return mesh.Host{}, fmt.Errorf("list addresses: %w", err)
	}
	byLink := map[int][]netip.Addr{}
	for _, a := range addresses {
		address, ok := netipx.FromStdIP(a.IP)
		if ok && wanted[a.LinkIndex] && isReachable(a, address) {
			byLink[a.LinkIndex] = append(byLink[a.LinkIndex], address)
		}
	}
	for _, link := range links {
		host.Addresses = append(host.Addresses, byLink[link.Attrs().Index]...)
	}
	return host, nil
}

// isPhysical tells a network card: an Ethernet link of no virtual kind.
func isPhysical(link netlink.Link) bool {
	attrs := link.Attrs()
	return link.Type() == "device" && attrs.EncapType == "ether" && len(attrs.HardwareAddr) == 6
}

// isReachable tells whether other machines may reach this one at an address for
// a while to come.
func isReachable(a netlink.Addr, address netip.Addr) bool {
	const passing = unix.IFA_F_TEMPORARY | unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
	return address.IsGlobalUnicast() && a.Scope == int(netlink.SCOPE_UNIVERSE) && a.Flags&passing == 0
}

// innerBridges are the bridges that only join what runs on this machine, as
// container engines and hypervisors set them up: the same addresses are inside
// of every machine that has one. A bridge that a network card is a port of
// leads outside.
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

// operatingSystem reads the name of the system from an os-release(5) file.
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
