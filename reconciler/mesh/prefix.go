package mesh

import (
	"net/netip"

	"github.com/spanmesh/span/schema"
)

// checkPrefix returns a prefix in its usual form, or the reason why no machine may claim it.
// Networks that contain special addresses pass: these stay local.
func checkPrefix(p netip.Prefix) (netip.Prefix, string) {
	if !p.IsValid() {
		return p, "is not a network"
	}
	p = schema.Unmap(p).Masked()
	return p, schema.SpecialMeaning(p)
}

// globalUnicast are the IPv6 addresses of the internet (RFC 4291, section 2.5.4).
var globalUnicast = netip.MustParsePrefix("2000::/3")

// isDefaultRoute reports whether a network is a default route, or one of a few that together
// are: half of IPv4, or all that IPv6 has in use.
func isDefaultRoute(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() <= 1
	}
	return p.Bits() <= 1 || p.Bits() <= globalUnicast.Bits() && p.Contains(globalUnicast.Addr())
}
