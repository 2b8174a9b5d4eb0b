package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Vet tells, by node ID, why merged affiliates are not to be used, and returns
// the others in their order. A registry lets through whatever holds the cluster's
// secret, and a machine can be cloned, misconfigured or taken over:
//
//   - nobody but this machine has its key or its address in the mesh;
//   - addresses in the mesh are the cluster's;
//   - of several affiliates with one key or one address in the mesh, the first by
//     node ID has it.
func Vet(self Identity, affiliates []Affiliate) (good []Affiliate, refused map[string]string) {
	refused = map[string]string{}
	keys, addresses := map[Key]string{}, map[netip.Addr]string{}
	ordered := slices.SortedFunc(slices.Values(affiliates), func(a, b Affiliate) int { return cmp.Compare(a.NodeID, b.NodeID) })
	for _, a := range ordered {
		k := a.KubeSpan
		if a.NodeID == self.NodeID || k.IsZero() {
			continue
		}
		keyOwner, keyTaken := keys[k.PublicKey]
		addressOwner, addressTaken := addresses[k.Address]
		switch {
		case k.PublicKey == self.PublicKey:
			refused[a.NodeID] = "claims this machine's public key"
		case k.Address == self.Address.Addr():
			refused[a.NodeID] = fmt.Sprintf("claims this machine's address %s: do both have the same MAC?", k.Address)
		case !self.Subnet.Contains(k.Address):
			refused[a.NodeID] = fmt.Sprintf("claims the address %s, which is not in the cluster's %s", k.Address, self.Subnet)
		case keyTaken:
			refused[a.NodeID] = fmt.Sprintf("repeats the public key of %s", keyOwner)
		case addressTaken:
			refused[a.NodeID] = fmt.Sprintf("repeats the address %s of %s: do both have the same MAC?", k.Address, addressOwner)
		default:
			keys[k.PublicKey], addresses[k.Address] = a.NodeID, a.NodeID
		}
	}
	for _, a := range affiliates {
		if refused[a.NodeID] == "" {
			good = append(good, a)
		}
	}
	return good, refused
}
