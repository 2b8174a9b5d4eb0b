package netlinkapply

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/mesh"
)

// offline returns why none of the links connects the machine to others, with a reason for each;
// nil if one does. All is the announcer that no filter narrows.
func offline(links []netlink.Link, all *announcer, byLink map[int]location) (reasons []mesh.OfflineLink) {
	var bare []mesh.OfflineLink
	for _, link := range links {
		if !all.couldLead(link) {
			continue
		}
		networks := byLink[link.Attrs().Index].networks
		why, connects := all.connects(link, networks)
		switch {
		case connects:
			return nil
		case why != "":
			reasons = append(reasons, mesh.OfflineLink{Name: link.Attrs().Name, Why: why})
		case len(networks) == 0:
			bare = append(bare, mesh.OfflineLink{Name: link.Attrs().Name, Why: mesh.NoAddress})
		}
	}
	switch {
	case len(reasons) > 0:
		return reasons
	case len(bare) > 0:
		return bare // one of them may be the container's only link
	default:
		return []mesh.OfflineLink{{}}
	}
}

// couldLead reports whether a link is of a kind that leads to other machines.
func (a *announcer) couldLead(link netlink.Link) bool {
	attrs := link.Attrs()
	return attrs.Flags&net.FlagLoopback == 0 && attrs.Name != a.meshLink && attrs.Name != serviceLink &&
		(a.leads[attrs.Index] || !a.inner[attrs.Index] && !a.isOverlay(link, maxDepth))
}

// connects reports whether a link with some networks connects the machine to others, and else why
// not; "" for a link that is not for that.
func (a *announcer) connects(link netlink.Link, networks []netip.Prefix) (why mesh.OfflineReason, connects bool) {
	attrs := link.Attrs()
	inNetwork := slices.ContainsFunc(networks, func(n netip.Prefix) bool { return !n.IsSingleIP() })
	switch {
	case attrs.Flags&net.FlagUp == 0:
		return mesh.LinkDown, false
	case a.master(link) == "vrf" && len(networks) > 0:
		return "", true // what is in a VRF is not announced
	case !a.announces(link, inNetwork):
		return "", false
	case attrs.RawFlags&unix.IFF_LOWER_UP == 0:
		return mesh.NoCarrier, false
	case len(networks) == 0 && !a.leads[attrs.Index]:
		return mesh.NoAddress, false
	default:
		return "", true
	}
}
