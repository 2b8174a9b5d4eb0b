package netlinkapply

import (
	"net"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/reconciler/mesh"
)

// overlays are the kinds of links that carry packets inside of others. Endpoints on them
// would put a tunnel into a tunnel.
var overlays = []string{"vxlan", "geneve", "gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan", "ipip", "sit", "ip6tnl",
	"vti", "vti6", "xfrm", "gtp", "bareudp", kindWireguard}

// serviceLink is the link on which kube-proxy keeps the addresses of services.
const serviceLink = "kube-ipvs0"

// announcer decides which links have addresses that this machine announces.
type announcer struct {
	meshLink string
	choose   mesh.LinkChoice
	// byIndex are all links.
	byIndex map[int]netlink.Link
	// inner are the bridges that connect only containers and virtual machines of this host.
	inner map[int]bool
	// leads are the links with a default route.
	leads map[int]bool
	// hasCard is set when the machine has a network card. A container has none.
	hasCard bool
}

func newAnnouncer(links []netlink.Link, meshLink string, choose mesh.LinkChoice, leads map[int]bool) *announcer {
	a := &announcer{meshLink: meshLink, choose: choose, byIndex: make(map[int]netlink.Link, len(links)), inner: innerBridges(links), leads: leads}
	for _, link := range links {
		a.byIndex[link.Attrs().Index] = link
		a.hasCard = a.hasCard || isPhysical(link)
	}
	return a
}

// announces reports whether the addresses of a link are announced. InNetwork is set when one of
// them is in a network and not alone.
func (a *announcer) announces(link netlink.Link, inNetwork bool) bool {
	attrs := link.Attrs()
	if attrs.Name == a.meshLink || attrs.Flags&net.FlagUp == 0 || a.overMesh(link, maxDepth) {
		return false
	}
	if named, included := a.choose.Of(attrs.Name); named {
		return included
	}
	switch {
	case attrs.Flags&net.FlagLoopback != 0, attrs.Name == serviceLink, a.master(link) == "vrf":
		return false
	case a.leads[attrs.Index]:
		return true
	case a.inner[attrs.Index], a.isOverlay(link, maxDepth):
		return false
	case leadsElsewhere(link):
		// In a container, the other end is the way to the network. Those of a network plugin have
		// host prefixes.
		return !a.hasCard && inNetwork
	default:
		return true
	}
}

// maxDepth is how many links may be on top of each other.
const maxDepth = 8

// below returns the link that a link sends its packets over; nil if unknown.
func (a *announcer) below(link netlink.Link) netlink.Link {
	if vxlan, is := link.(*netlink.Vxlan); is {
		return a.byIndex[vxlan.VtepDevIndex]
	}
	// ParentIndex may belong to another namespace, such as that of the other end of a veth pair.
	if attrs := link.Attrs(); attrs.NetNsID < 0 && link.Type() != "veth" {
		return a.byIndex[attrs.ParentIndex]
	}
	return nil
}

// overMesh reports whether a link sends its packets over the mesh's link, such as the VXLAN of
// a network plugin. Only members of the mesh reach its addresses.
func (a *announcer) overMesh(link netlink.Link, depth int) bool {
	below := a.below(link)
	return below != nil && depth > 0 && (below.Attrs().Name == a.meshLink || a.overMesh(below, depth-1))
}

// isOverlay reports whether a link is an overlay, or on top of one.
func (a *announcer) isOverlay(link netlink.Link, depth int) bool {
	if isOverlayKind(link) {
		return true
	}
	below := a.below(link)
	return below != nil && depth > 0 && a.isOverlay(below, depth-1)
}

func isOverlayKind(link netlink.Link) bool {
	if link.Type() == kindTUN {
		return userspace.HasSocket(link.Attrs().Name)
	}
	return slices.Contains(overlays, link.Type())
}

// leadsElsewhere reports whether a link's other end is in another namespace.
func leadsElsewhere(link netlink.Link) bool {
	return (link.Type() == "veth" || link.Type() == "netkit") && link.Attrs().NetNsID >= 0
}

// master returns the kind of the link that a link belongs to; "" for none.
func (a *announcer) master(link netlink.Link) string {
	if master, has := a.byIndex[link.Attrs().MasterIndex]; has && link.Attrs().MasterIndex != 0 {
		return master.Type()
	}
	return ""
}
