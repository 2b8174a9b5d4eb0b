package netlinkapply

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// offline returns why none of the links connects the machine to others, with a reason for each;
// nil if one does. All is the announcer that no filter narrows.
func offline(links []netlink.Link, all *announcer, byLink map[int]location) (reasons []string) {
	for _, link := range links {
		attrs := link.Attrs()
		if attrs.Flags&net.FlagLoopback != 0 || attrs.Name == all.meshLink || attrs.Name == serviceLink ||
			all.inner[attrs.Index] || all.isOverlay(link, maxDepth) && !all.leads[attrs.Index] {
			continue
		}
		networks := byLink[attrs.Index].networks
		inNetwork := slices.ContainsFunc(networks, func(n netip.Prefix) bool { return !n.IsSingleIP() })
		switch {
		case attrs.Flags&net.FlagUp == 0:
			reasons = append(reasons, attrs.Name+" is down")
		case all.master(link) == "vrf" && len(networks) > 0:
			return nil // what is in a VRF is not announced
		case !all.announces(link, inNetwork):
		case attrs.RawFlags&unix.IFF_LOWER_UP == 0:
			reasons = append(reasons, attrs.Name+" has no carrier")
		case len(networks) == 0 && !all.leads[attrs.Index]:
			reasons = append(reasons, attrs.Name+" has no address")
		default:
			return nil
		}
	}
	if len(reasons) == 0 {
		return []string{"there is no link but the loopback"}
	}
	return reasons
}
