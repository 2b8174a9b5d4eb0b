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
	// Endpoints are where the peer may be reached, Addresses those that it says it
	// has: discovery keeps endpoints for a while which a machine has no more.
	Endpoints []netip.AddrPort
	Addresses []netip.Addr
	// Relay and Relays are those of the affiliate.
	Relay  bool
	Relays []Key
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
// An address that several peers claim goes to the one that the config describes,
// else to the one whose key sorts first, and each that goes without is in the
// overlaps once. The order of affiliates does not matter. The work is O(n log n)
// in the number of networks.
func PeerSpecs(self Identity, affiliates []Affiliate) ([]PeerSpec, []Overlap) {
	peers := claimants(self, affiliates)
	claims := make([]claim, 0, 4*len(peers))
	sizes := make([]int, len(peers))
	for owner, a := range peers {
		before := len(claims)
		claims = appendClaims(claims, owner, a)
		sizes[owner] = len(claims) - before
	}
	granted, lost := resolveClaims(claims)

	specs := make([]PeerSpec, len(peers))
	static := false
	for i, a := range peers {
		k := &a.KubeSpan
		specs[i] = PeerSpec{PublicKey: k.PublicKey, NodeID: a.NodeID, Label: a.Nodename, Address: k.Address,
			Endpoints: k.Endpoints, Addresses: a.Addresses, Relay: k.Relay, Relays: k.Relays}
		static = static || a.Static
	}
	// One array for the lists of all: most have as many networks as claims.
	shared := make([]netip.Prefix, 0, len(granted))
	for _, g := range granted {
		s := &specs[g.owner]
		if s.AllowedIPs == nil {
			size := min(sizes[g.owner], cap(shared)-len(shared))
			s.AllowedIPs = shared[len(shared) : len(shared) : len(shared)+size]
			shared = shared[:len(shared)+size]
		}
		s.AllowedIPs = g.AppendPrefixes(s.AllowedIPs)
	}
	overlaps := make([]Overlap, len(lost))
	for i, l := range lost {
		overlaps[i] = Overlap{Winner: peers[l.winner].KubeSpan.PublicKey, Loser: peers[l.loser].KubeSpan.PublicKey, From: l.from}
	}
	if static {
		slices.SortFunc(specs, func(a, b PeerSpec) int { return a.PublicKey.Compare(b.PublicKey) })
	}
	return specs, overlaps
}

// claimants are the affiliates that are peers of self, in the order of their right.
func claimants(self Identity, affiliates []Affiliate) []*Affiliate {
	peers := make([]*Affiliate, 0, len(affiliates))
	for i := range affiliates {
		a := &affiliates[i]
		k := &a.KubeSpan
		if k.IsZero() || !k.Address.IsValid() && !a.Static || a.NodeID == self.NodeID || k.PublicKey == self.PublicKey {
			continue
		}
		peers = append(peers, a)
	}
	slices.SortFunc(peers, func(a, b *Affiliate) int {
		switch {
		case a.Static && !b.Static:
			return -1
		case b.Static && !a.Static:
			return 1
		}
		return cmp.Or(a.KubeSpan.PublicKey.Compare(b.KubeSpan.PublicKey), cmp.Compare(a.NodeID, b.NodeID))
	})
	seen := make(map[Key]bool, len(peers))
	return slices.DeleteFunc(peers, func(a *Affiliate) bool {
		twice := seen[a.KubeSpan.PublicKey]
		seen[a.KubeSpan.PublicKey] = true
		return twice
	})
}

// appendClaims appends what an affiliate claims: its own and additional addresses
// without those it excludes, and its mesh address in any case.
func appendClaims(claims []claim, owner int, a *Affiliate) []claim {
	if len(a.KubeSpan.ExcludeAdvertisedNetworks) > 0 {
		for _, r := range networks(a) {
			claims = append(claims, claim{r, owner})
		}
		return claims
	}
	// Claims of one owner may overlap each other: resolveClaims joins them.
	add := func(r netipx.IPRange) {
		if r.IsValid() {
			claims = append(claims, claim{r, owner})
		}
	}
	for _, address := range a.Addresses {
		add(netipx.IPRangeFrom(address, address))
	}
	for _, prefix := range a.KubeSpan.AdditionalAddresses {
		add(netipx.RangeOfPrefix(prefix))
	}
	add(netipx.IPRangeFrom(a.KubeSpan.Address, a.KubeSpan.Address))
	return claims
}

// networks are the claims of an affiliate that excludes some.
func networks(a *Affiliate) []netipx.IPRange {
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
	if a.KubeSpan.Address.IsValid() {
		b.Add(a.KubeSpan.Address)
	}
	set, err := b.IPSet()
	if err != nil {
		// Invalid prefixes do not get past a registry; an affiliate that has one
		// is reached at its mesh address alone.
		return []netipx.IPRange{netipx.IPRangeFrom(a.KubeSpan.Address, a.KubeSpan.Address)}
	}
	return set.Ranges()
}
