package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Filter returns the affiliates that may be used, in their order, and the reasons why the
// others are refused, by node ID. Whoever has the cluster's secret can publish anything, and a
// machine can be cloned, misconfigured or taken over. So:
//
//   - no other machine has this machine's key or its address in the mesh;
//   - all addresses in the mesh are in the cluster's subnet;
//   - of several affiliates with one key, only one is used: the present one, or else the one
//     that has most of the allowed IPs that WireGuard has for the key, or else the first by
//     node ID.
//
// Two others with one address are both used, and package ownership gives it to one of them. A
// reinstalled machine has the address of its predecessor, which discovery remembers until
// its TTL ends.
func Filter(self Identity, affiliates []*Affiliate, present Present) (good []*Affiliate, refused map[string]string) {
	refused = map[string]string{}
	owners := make(map[Key]int, len(affiliates))
	// Merge has sorted them already.
	byID := func(a, b *Affiliate) int { return cmp.Compare(a.NodeID, b.NodeID) }
	ordered := affiliates
	if !slices.IsSortedFunc(ordered, byID) {
		ordered = slices.SortedFunc(slices.Values(affiliates), byID)
	}
	for i, a := range ordered {
		k := &a.KubeSpan
		if a.NodeID == self.NodeID || k.IsZero() {
			continue
		}
		owner, taken := owners[k.PublicKey]
		switch {
		case k.PublicKey == self.PublicKey:
			refused[a.NodeID] = "claims this machine's public key"
		case a.Static:
			owners[k.PublicKey] = i
		case k.Address == self.Address.Addr():
			refused[a.NodeID] = fmt.Sprintf("claims this machine's address %s: do both have the same MAC?", k.Address)
		case !self.Subnet.Contains(k.Address):
			refused[a.NodeID] = fmt.Sprintf("claims the address %s, which is not in the cluster's %s", k.Address, self.Subnet)
		case taken:
			loser := a
			if present.prefers(a, ordered[owner]) {
				loser, owners[k.PublicKey] = ordered[owner], i
			}
			refused[loser.NodeID] = "repeats the public key of " + ordered[owners[k.PublicKey]].NodeID
		default:
			owners[k.PublicKey] = i
		}
	}
	if len(refused) == 0 {
		return affiliates, refused
	}
	for _, a := range affiliates {
		if refused[a.NodeID] == "" {
			good = append(good, a)
		}
	}
	return good, refused
}

// Present is what the machine has of its peers before it looks at affiliates anew.
type Present struct {
	// NodeIDs has the node ID of each peer by key.
	NodeIDs map[Key]string
	// AllowedIPs returns what WireGuard has for a key; nil for nothing.
	AllowedIPs func(Key) []netip.Prefix
}

// prefers reports whether a is the machine with a key rather than b, which comes first.
func (p Present) prefers(a, b *Affiliate) bool {
	if b.Static {
		return false // it is another description of the same peer
	}
	if id, known := p.NodeIDs[a.KubeSpan.PublicKey]; known && (id == a.NodeID || id == b.NodeID) {
		return id == a.NodeID
	}
	if p.AllowedIPs == nil {
		return false
	}
	allowed := p.AllowedIPs(a.KubeSpan.PublicKey)
	return score(a, allowed) > score(b, allowed)
}

// score returns how many addresses of an affiliate are among prefixes.
func score(a *Affiliate, prefixes []netip.Prefix) (n int) {
	for _, p := range prefixes {
		if p.IsSingleIP() && (p.Addr() == a.KubeSpan.Address || slices.Contains(a.Addresses, p.Addr())) {
			n++
		}
	}
	return n
}
