package netlinkapply

import (
	"cmp"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"

	"github.com/spanmesh/span/reconciler/mesh"
)

// territory returns all addresses of the machine, and the networks that its links are attached
// to, both without those of the mesh link and link-local ones.
func (k *Kernel) territory(links []netlink.Link, meshLink string) (own []netip.Addr, connected []mesh.Connected, err error) {
	addresses, err := dump(func() ([]netlink.Addr, error) { return k.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, nil, err
	}
	byIndex := make(map[int]*netlink.LinkAttrs, len(links))
	for _, link := range links {
		byIndex[link.Attrs().Index] = link.Attrs()
	}
	for _, a := range addresses {
		link := byIndex[a.LinkIndex]
		address, ok := netipx.FromStdIP(a.IP)
		if !ok || link == nil || link.Name == meshLink || address.IsLinkLocalUnicast() {
			continue
		}
		own = append(own, address)
		if link.Flags&net.FlagLoopback != 0 || link.Flags&net.FlagUp == 0 {
			continue // nobody else is there
		}
		if network, ok := netipx.FromStdIPNet(attached(a)); ok {
			connected = append(connected, mesh.Connected{Link: link.Name, Prefix: network.Masked()})
		}
	}
	slices.SortFunc(own, netip.Addr.Compare)
	slices.SortFunc(connected, func(a, b mesh.Connected) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), mesh.ComparePrefixes(a.Prefix, b.Prefix))
	})
	return slices.Compact(own), slices.Compact(connected), nil
}

// attached returns the network that an address attaches its link to: the other end of a
// point-to-point link, or else the address's own network.
func attached(a netlink.Addr) *net.IPNet {
	if a.Peer != nil && !a.Peer.IP.Equal(a.IP) && len(a.Peer.IP) > 0 {
		return a.Peer
	}
	return a.IPNet
}
