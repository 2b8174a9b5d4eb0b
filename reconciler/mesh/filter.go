package mesh

import (
	"cmp"
	"fmt"
	"slices"
)

// Filter tells, by node ID, why merged affiliates are not to be used, and returns
// the others in their order. A registry lets through whatever holds the cluster's
// secret, and a machine can be cloned, misconfigured or taken over:
//
//   - nobody but this machine has its key or its address in the mesh;
//   - addresses in the mesh are the cluster's;
//   - of several affiliates with one key, the first by node ID has it.
//
// Two others with one address are both let through, and PeerSpecs gives it to one
// of them: a machine that was set up anew has the address of what it was before,
// which discovery remembers for a while.
func Filter(self Identity, affiliates []Affiliate) (good []Affiliate, refused map[string]string) {
	refused = map[string]string{}
	owners := map[Key]string{}
	// Merged affiliates are in order already.
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
