package names

import (
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Candidates returns the addresses that a machine calls its own in the mesh, and those that the config
// gives to a static peer. Networks behind it, and the addresses of its links, are not among them.
func Candidates(a *mesh.Affiliate) (own []netip.Addr) {
	if a.KubeSpan.Address.IsValid() {
		own = append(own, a.KubeSpan.Address)
	}
	for _, p := range a.KubeSpan.AdditionalAddresses {
		if p.IsSingleIP() && (a.Static || slices.Contains(a.Configured, p) || slices.Contains(a.Addresses, p.Addr())) && !slices.Contains(own, p.Addr()) {
			own = append(own, p.Addr())
		}
	}
	return own
}

// Owned returns the addresses that are among the allowed IPs of a peer by themselves: what another peer
// owns in a network of this one is not.
func Owned(addresses []netip.Addr, allowedIPs []netip.Prefix) (owned []netip.Addr) {
	for _, a := range addresses {
		if slices.Contains(allowedIPs, netip.PrefixFrom(a, a.BitLen())) {
			owned = append(owned, a)
		}
	}
	return owned
}
