package mesh

import (
	"cmp"
	"fmt"
	"slices"
)

// Filter returns the affiliates that may be used, in their order, and the reasons why the
// others are refused, by node ID. Whoever has the cluster's secret can publish anything, and a
// machine can be cloned, misconfigured or taken over. So:
//
//   - no other machine has this machine's key or its address in the mesh;
//   - all addresses in the mesh are in the cluster's subnet;
//   - of several affiliates with one key, only the first by node ID is used.
//
// Two others with one address are both used, and PeerSpecs gives it to one of them: a
// reinstalled machine has the address of its predecessor, which discovery remembers until
// its TTL ends.
func Filter(self Identity, affiliates []Affiliate) (good []Affiliate, refused map[string]string) {
	refused = map[string]string{}
	owners := map[Key]string{}
	// Merge has sorted them already.
	byID := func(a, b Affiliate) int { return cmp.Compare(a.NodeID, b.NodeID) }
	ordered := affiliates
	if !slices.IsSortedFunc(ordered, byID) {
		ordered = slices.SortedFunc(slices.Values(affiliates), byID)
	}
	for i := range ordered {
		a := &ordered[i]
		k := a.KubeSpan
		if a.NodeID == self.NodeID || k.IsZero() {
			continue
		}
		owner, taken := owners[k.PublicKey]
		switch {
		case k.PublicKey == self.PublicKey:
			refused[a.NodeID] = "claims this machine's public key"
		case a.Static:
			owners[k.PublicKey] = a.NodeID
		case k.Address == self.Address.Addr():
			refused[a.NodeID] = fmt.Sprintf("claims this machine's address %s: do both have the same MAC?", k.Address)
		case !self.Subnet.Contains(k.Address):
			refused[a.NodeID] = fmt.Sprintf("claims the address %s, which is not in the cluster's %s", k.Address, self.Subnet)
		case taken:
			refused[a.NodeID] = "repeats the public key of " + owner
		default:
			owners[k.PublicKey] = a.NodeID
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
