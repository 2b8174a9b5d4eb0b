package mesh

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/spanmesh/span/schema"
)

// staticPrefix begins the node IDs of static peers. No machine has such a node
// ID: the digits are others.
const staticPrefix = "static:"

// WithStatic adds the peers that the config describes to those that registries
// know. One whose key a registry's affiliate has is joined with it; any other is
// an affiliate of its own. Registries' affiliates that pretend to be static are
// left out.
func WithStatic(known []Affiliate, peers []schema.StaticPeer) []Affiliate {
	if len(peers) == 0 {
		return known
	}
	byKey := make(map[Key]string, len(known))
	all := make([]Affiliate, 0, len(known)+len(peers))
	for _, a := range known {
		if strings.HasPrefix(a.NodeID, staticPrefix) {
			continue
		}
		all = append(all, a)
		if !a.KubeSpan.IsZero() {
			byKey[a.KubeSpan.PublicKey] = a.NodeID
		}
	}
	static := make([]Affiliate, 0, len(peers))
	for _, p := range peers {
		a := Affiliate{NodeID: byKey[Key(p.PublicKey)], KubeSpan: KubeSpan{
			PublicKey: Key(p.PublicKey), AdditionalAddresses: p.AllowedIPs, Endpoints: p.Endpoints}}
		if a.NodeID == "" {
			a.NodeID, a.Nodename, a.Hostname, a.Static = staticPrefix+p.Name, p.Name, p.Name, true
			a.Addresses = hosts(p.AllowedIPs)
		}
		static = append(static, a)
	}
	return Merge(all, static)
}

// hosts are the networks that are one address each.
func hosts(networks []netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, n := range networks {
		if n.IsSingleIP() {
			out = append(out, n.Addr())
		}
	}
	return out
}

// PresharedKeys are the preshared keys that the config gives to static peers:
// the zero key for those that have none. Who is of the cluster and was given no
// other is not among them.
func PresharedKeys(affiliates []Affiliate, peers []schema.StaticPeer) (map[Key]PrivateKey, error) {
	keys := map[Key]PrivateKey{}
	for _, p := range peers {
		if p.PresharedKey.IsZero() {
			if slices.ContainsFunc(affiliates, func(a Affiliate) bool { return a.Static && a.KubeSpan.PublicKey == Key(p.PublicKey) }) {
				keys[Key(p.PublicKey)] = PrivateKey{}
			}
			continue
		}
		raw, err := p.PresharedKey.Key()
		if err != nil {
			return nil, err
		}
		keys[Key(p.PublicKey)] = SecretKey(raw)
	}
	return keys, nil
}
