package mesh

import (
	"cmp"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// PeerSpec is what WireGuard needs to know of another machine.
type PeerSpec struct {
	PublicKey Key
	// NodeID is the affiliate that the spec was made from, Label its nodename.
	NodeID, Label string
	Address       netip.Addr
	// AllowedIPs is a minimal set of prefixes in the order of addresses, which
	// no other PeerSpec overlaps.
	AllowedIPs []netip.Prefix
	// Endpoints are tried in this order.
	Endpoints []netip.AddrPort
}

// Overlap says that two peers claim the same addresses, and who has them.
type Overlap struct {
	// Winner holds the addresses, Loser goes without.
	Winner, Loser Key
	// From is the first address that both claim.
	From netip.Addr
}

// PeerSpecs makes the peers of self out of merged affiliates, sorted by public
// key. Affiliates without a key, and self, have none. Where several affiliates
// publish one key, the first by node ID has it.
//
// An address that several peers claim goes to the one whose key sorts first,
// and each that goes without is in the overlaps once. The order of affiliates
// does not matter. The work is O(n log n) in the number of networks.
func PeerSpecs(self Identity, affiliates []Affiliate) ([]PeerSpec, []Overlap) {
	peers := make([]Affiliate, 0, len(affiliates))
	for _, a := range affiliates {
		k := a.KubeSpan
		if k.IsZero() || !k.Address.IsValid() || a.NodeID == self.NodeID || k.PublicKey == self.PublicKey {
			continue
		}
		peers = append(peers, a)
	}
	slices.SortFunc(peers, func(a, b Affiliate) int {
		return cmp.Or(a.KubeSpan.PublicKey.Compare(b.KubeSpan.PublicKey), cmp.Compare(a.NodeID, b.NodeID))
	})
	peers = slices.CompactFunc(peers, func(a, b Affiliate) bool { return a.KubeSpan.PublicKey == b.KubeSpan.PublicKey })

	var claims []claim
	for owner, a := range peers {
		for _, r := range networks(a) {
			claims = append(claims, claim{r, owner})
		}
	}
	granted, lost := settle(claims)

	specs := make([]PeerSpec, len(peers))
	for i, a := range peers {
		specs[i] = PeerSpec{
			PublicKey: a.KubeSpan.PublicKey,
			NodeID:    a.NodeID,
			Label:     a.Nodename,
			Address:   a.KubeSpan.Address,
			Endpoints: a.KubeSpan.Endpoints,
		}
	}
	for _, g := range granted {
		specs[g.owner].AllowedIPs = g.AppendPrefixes(specs[g.owner].AllowedIPs)
	}
	overlaps := make([]Overlap, len(lost))
	for i, l := range lost {
		overlaps[i] = Overlap{Winner: peers[l.winner].KubeSpan.PublicKey, Loser: peers[l.loser].KubeSpan.PublicKey, From: l.from}
	}
	return specs, overlaps
}

// networks are the addresses that an affiliate claims: its own and additional
// ones without those it excludes, and its mesh address in any case.
func networks(a Affiliate) []netipx.IPRange {
	var b netipx.IPSetBuilder
	for _, address := range a.Addresses {
		b.Add(address)
	}
	for _, prefix := range a.KubeSpan.AdditionalAddresses {
		b.AddPrefix(prefix)
	}
	for _, prefix := range a.KubeSpan.ExcludeAdvertisedNetworks {
		b.RemovePrefix(prefix)
	}
	b.Add(a.KubeSpan.Address)
	set, err := b.IPSet()
	if err != nil {
		// Invalid prefixes do not get past a registry; an affiliate that has one
		// is reached at its mesh address alone.
		return []netipx.IPRange{netipx.IPRangeFrom(a.KubeSpan.Address, a.KubeSpan.Address)}
	}
	return set.Ranges()
}
