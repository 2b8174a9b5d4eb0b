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
		slices.SortFunc(s.Peers[i].AllowedIPs, comparePrefixes)
	}
	slices.SortFunc(s.Firewall.Networks, comparePrefixes)
	slices.SortFunc(s.Firewall.Chains, func(a, b Chain) int { return cmp.Compare(a.Name, b.Name) })
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func compareRules(a, b Rule) int {
	return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Mark, b.Mark),
		cmp.Compare(a.Mask, b.Mask), comparePrefixes(a.To, b.To), cmp.Compare(a.Table, b.Table))
}
