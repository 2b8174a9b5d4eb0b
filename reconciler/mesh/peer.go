package mesh

import (
	"cmp"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// PeerSpec is the specification of one WireGuard peer.
type PeerSpec struct {
	PublicKey Key
	// NodeID is the node ID of the peer's affiliate.
	NodeID string
	// Label is the affiliate's nodename.
	Label string
	// Address is the peer's address in the mesh.
	Address netip.Addr
	// AllowedIPs is a minimal set of prefixes, sorted by address. It overlaps that of no
	// other PeerSpec.
	AllowedIPs []netip.Prefix
	// Endpoints are the endpoints that discovery has for the peer. Some may be outdated.
	Endpoints []netip.AddrPort
	// Addresses are the addresses that the peer publishes as its own.
	Addresses []netip.Addr
	// Relay is KubeSpan.Relay of the affiliate.
	Relay bool
	// Relays are KubeSpan.Relays of the affiliate.
	Relays []Key
}

// Overlap is a range of addresses that two peers claim.
type Overlap struct {
	// Winner is the peer that has the addresses.
	Winner Key
	// Loser is the peer that does not have them.
	Loser Key
	// From is the first address of the range.
	From netip.Addr
}

// PeerSpecs returns the peers of self among merged affiliates, sorted by public key.
// Affiliates without a key are not peers. Of several affiliates with one key, the first by
// node ID is the peer.
//
// An address that several peers claim goes to a static peer, otherwise to the peer whose key
// sorts first. Each other claimant is the loser of one overlap. The order of affiliates does
// not matter. The work is O(n log n) in the number of networks.
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
	// One array for all lists: most peers have as many networks as claims.
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

// claimants returns the affiliates that are peers of self, in the order of precedence.
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

// appendClaims appends the claims of an affiliate: its own and additional addresses
// without those that it excludes, and always its mesh address.
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

// networks returns the claims of an affiliate that excludes networks.
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
		// Not reached: registries refuse invalid prefixes.
		return []netipx.IPRange{netipx.IPRangeFrom(a.KubeSpan.Address, a.KubeSpan.Address)}
	}
	return set.Ranges()
}
