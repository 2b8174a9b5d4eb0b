package mesh

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// staticPrefix starts the node IDs of static peers. It is not base62, so no machine has
// such a node ID.
const staticPrefix = "static:"

// StaticID returns the node ID of the static peer with that name.
func StaticID(name string) string { return staticPrefix + name }

// isStaticID reports whether id is the node ID of a static peer.
func isStaticID(id string) bool { return strings.HasPrefix(id, staticPrefix) }

// JoinStatic adds the endpoints and networks of each static peer to the affiliate with the
// same public key, if there is one. The result is sorted by node ID.
func JoinStatic(affiliates []*Affiliate) []*Affiliate {
	if !slices.ContainsFunc(affiliates, func(a *Affiliate) bool { return a.Static }) {
		return affiliates
	}
	joined := make([]*Affiliate, 0, len(affiliates))
	byKey := make(map[Key]int, len(affiliates))
	for _, a := range affiliates {
		if a.Static {
			continue
		}
		if !a.KubeSpan.IsZero() {
			byKey[a.KubeSpan.PublicKey] = len(joined)
		}
		joined = append(joined, a)
	}
	for _, a := range affiliates {
		if !a.Static {
			continue
		}
		if i, known := byKey[a.KubeSpan.PublicKey]; known {
			joined[i] = join(joined[i], &Affiliate{KubeSpan: a.KubeSpan})
			joined[i].Configured = a.KubeSpan.AdditionalAddresses
		} else {
			joined = append(joined, a)
		}
	}
	slices.SortFunc(joined, func(a, b *Affiliate) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return joined
}

// PresharedKeys returns the keys that peers have in place of the cluster secret: those that
// are set, and the zero key for a static peer without. The cluster secret is for machines
// of the cluster alone.
func PresharedKeys(affiliates []*Affiliate, set map[Key]PrivateKey) map[Key]PrivateKey {
	keys := map[Key]PrivateKey{}
	for _, a := range affiliates {
		if a.Static {
			keys[a.KubeSpan.PublicKey] = PrivateKey{}
		}
	}
	maps.Copy(keys, set)
	return keys
}
