package state

import (
	"cmp"
	"net/netip"
	"slices"
)

// Normalize puts the lists of s into canonical order, in place.
func (s *State) Normalize() {
	slices.SortFunc(s.Addresses, comparePrefixes)
	slices.SortFunc(s.Routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), comparePrefixes(a.Destination, b.Destination),
			cmp.Compare(a.Table, b.Table), cmp.Compare(a.Metric, b.Metric))
	})
	slices.SortFunc(s.Rules, compareRules)
	slices.SortFunc(s.Peers, func(a, b Peer) int { return a.PublicKey.Compare(b.PublicKey) })
	for i := range s.Peers {
		s.Peers[i].AllowedIPs = canonical(s.Peers[i].AllowedIPs)
	}
	s.Firewall.Networks = canonical(s.Firewall.Networks)
	slices.SortFunc(s.Firewall.Chains, compareChains)
	s.Firewall.Guard.Networks = canonical(s.Firewall.Guard.Networks)
	slices.SortFunc(s.Firewall.Guard.Chains, compareChains)
}

// canonical returns networks as the kernel keeps them: masked, without IPv4 inside of IPv6,
// each once, and sorted. It changes networks only where they are not so already: the list may
// be shared.
func canonical(networks []netip.Prefix) []netip.Prefix {
	if !isCanonical(networks) {
		return makeCanonical(networks)
	}
	return networks
}

func isCanonical(networks []netip.Prefix) bool {
	for i, n := range networks {
		if n != asKept(n) || i > 0 && comparePrefixes(networks[i-1], n) >= 0 {
			return false
		}
	}
	return true
}

func makeCanonical(networks []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(networks))
	for i, n := range networks {
		out[i] = asKept(n)
	}
	slices.SortFunc(out, comparePrefixes)
	return slices.Compact(out)
}

// asKept returns a network as the kernel keeps it.
func asKept(n netip.Prefix) netip.Prefix {
	const mapped = 96 // bits before an IPv4 address in an IPv6 one (RFC 4291, section 2.5.5.2)
	if n.Addr().Is4In6() && n.Bits() >= mapped {
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-mapped)
	}
	return n.Masked()
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func compareChains(a, b Chain) int { return cmp.Compare(a.Name, b.Name) }

func compareRules(a, b Rule) int {
	return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Mark, b.Mark),
		cmp.Compare(a.Mask, b.Mask), comparePrefixes(a.To, b.To), cmp.Compare(a.Table, b.Table))
}
