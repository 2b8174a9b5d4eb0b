package gateway

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
)

// Route is the way to the internet.
type Route struct {
	// Gateway is the default gateway, with a zone if its address is of a link.
	Gateway netip.Addr
	// Own is the machine's address towards it.
	Own netip.Addr
}

// outside are public addresses. The kernel is asked for the route to them; nothing is sent.
var outside = map[bool]netip.Addr{true: netip.MustParseAddr("1.0.0.1"), false: netip.MustParseAddr("2000::1")}

// Find returns how packets with a firewall mark go to the internet. The zero value is not at all, or
// without a gateway.
func Find(is4 bool, mark uint32) Route {
	routes, err := netlink.RouteGetWithOptions(outside[is4].AsSlice(), &netlink.RouteGetOptions{Mark: mark})
	if err != nil || len(routes) == 0 {
		return Route{}
	}
	gateway, ok := netipx.FromStdIP(routes[0].Gw)
	own, okOwn := netipx.FromStdIP(routes[0].Src)
	if !ok || !okOwn {
		return Route{}
	}
	if gateway.Is6() && gateway.IsLinkLocalUnicast() {
		link, err := netlink.LinkByIndex(routes[0].LinkIndex)
		if err != nil {
			return Route{}
		}
		gateway = gateway.WithZone(link.Attrs().Name)
	}
	return Route{gateway, own}
}
