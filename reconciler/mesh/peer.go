package mesh

import (
	"cmp"
	"net/netip"
	"slices"
	"unicode/utf8"
)

// PeerSpec is the specification of one WireGuard peer.
type PeerSpec struct {
	PublicKey Key
	// NodeID is the node ID of the peer's affiliate.
	NodeID string
	// Label is the affiliate's nodename.
	Label string
	// Name is the peer's name for people, and no other peer's: the label, or the key where the label is
	// empty, a key, no UTF-8, or another machine's too.
	Name string
	// Address is the peer's address in the mesh.
	Address netip.Addr
	// AllowedIPs are the prefixes that the peer owns, sorted. No other PeerSpec has an equal one;
	// where they overlap, the longest prefix counts.
	AllowedIPs []netip.Prefix
	// Endpoints are the endpoints that discovery has for the peer. Some may be outdated.
	Endpoints []netip.AddrPort
	// Refused are the endpoints of discovery that this machine does not try.
	Refused []EndpointRefusal
	// Addresses are the addresses that the peer publishes as its own.
	Addresses []netip.Addr
	// Relay is KubeSpan.Relay of the affiliate.
	Relay bool
	// Relays are KubeSpan.Relays of the affiliate.
	Relays []Key
	// NAT, Probes and Registered are those of KubeSpan of the affiliate.
	NAT        NAT
	Probes     bool
	Registered []Key
	// RelayEndpoints are those of KubeSpan of the affiliate. They are not among Endpoints.
	RelayEndpoints []netip.AddrPort
	// WithoutAgent is KubeSpan.WithoutAgent of the affiliate. It is not set for static peers, of which
	// relays do not know.
	WithoutAgent bool
	// Offer is that of KubeSpan of the affiliate.
	Offer RelayOffer
}

// Equal reports whether both are the same.
func (s *PeerSpec) Equal(o *PeerSpec) bool {
	return s.PublicKey == o.PublicKey && s.NodeID == o.NodeID && s.Label == o.Label && s.Name == o.Name && s.Address == o.Address &&
		s.Relay == o.Relay && s.NAT == o.NAT && s.Probes == o.Probes && s.WithoutAgent == o.WithoutAgent && s.Offer.Equal(o.Offer) &&
		slices.Equal(s.AllowedIPs, o.AllowedIPs) && s.equalEndpoints(o)
}

func (s *PeerSpec) equalEndpoints(o *PeerSpec) bool {
	return slices.Equal(s.Endpoints, o.Endpoints) && slices.Equal(s.Refused, o.Refused) && slices.Equal(s.Addresses, o.Addresses) &&
		slices.Equal(s.Relays, o.Relays) && slices.Equal(s.Registered, o.Registered) && slices.Equal(s.RelayEndpoints, o.RelayEndpoints)
}

// PeerSpecs returns the specs of peers, in their order, without allowed IPs: package ownership
// decides on these.
func PeerSpecs(peers []*Affiliate) []PeerSpec {
	specs := make([]PeerSpec, len(peers))
	for i, a := range peers {
		k := &a.KubeSpan
		specs[i] = PeerSpec{PublicKey: k.PublicKey, NodeID: a.NodeID, Label: a.Nodename, Address: k.Address,
			Endpoints: k.OwnEndpoints(), Addresses: a.Addresses, Relay: k.Relay, Relays: k.Relays,
			NAT: k.NAT, Probes: k.Probes, Registered: k.Registered, Offer: k.Offer,
			RelayEndpoints: k.RelayEndpoints, WithoutAgent: !a.Static && k.WithoutAgent(), Refused: refusedRelays(k)}
	}
	return specs
}

// refusedRelays returns the endpoints that a peer has named as relays'. This machine takes them for none of
// the peer: it uses relays by their keys.
func refusedRelays(k *KubeSpan) (refused []EndpointRefusal) {
	for _, e := range k.Endpoints {
		if slices.Contains(k.RelayEndpoints, e) {
			refused = append(refused, EndpointRefusal{e, "is that of a relay", false})
		}
	}
	return refused
}

// NamePeers sets the names of peers: their labels, or the names by suffixed of those that share one, as long
// as nobody else has these. What has no other name has its key. Own is the nodename of this machine; suffixed
// returns "" for none.
func NamePeers(specs []PeerSpec, own string, suffixed func(label, nodeID string) string) {
	taken := make(map[string]int, len(specs)+1)
	taken[own]++
	for i := range specs {
		taken[specs[i].Label]++
	}
	shared := make(map[int]string)
	for i := range specs {
		s := &specs[i]
		_, err := ParseKey(s.Label)
		usable := s.Label != "" && err != nil && utf8.ValidString(s.Label)
		if s.Name = s.Label; usable && taken[s.Label] == 1 {
			continue
		}
		s.Name = s.PublicKey.String()
		if name := suffixed(s.Label, s.NodeID); usable && name != "" {
			shared[i] = name
		}
	}
	for _, name := range shared {
		taken[name]++
	}
	for i, name := range shared {
		if taken[name] == 1 {
			specs[i].Name = name
		}
	}
}

// Peers returns the peers of self among merged affiliates, sorted by public key. Affiliates
// without a key are not peers. Of several affiliates with one key, a static one is the peer,
// or else the first by node ID. The order of affiliates does not matter.
func Peers(self Identity, affiliates []*Affiliate) []*Affiliate {
	peers := make([]*Affiliate, 0, len(affiliates))
	for _, a := range affiliates {
		k := &a.KubeSpan
		if k.IsZero() || !k.Address.IsValid() && !a.Static || a.NodeID == self.NodeID || k.PublicKey == self.PublicKey {
			continue
		}
		peers = append(peers, a)
	}
	slices.SortFunc(peers, func(a, b *Affiliate) int {
		if c := a.KubeSpan.PublicKey.Compare(b.KubeSpan.PublicKey); c != 0 || a.Static == b.Static {
			return cmp.Or(c, cmp.Compare(a.NodeID, b.NodeID))
		}
		if a.Static {
			return -1
		}
		return 1
	})
	return slices.CompactFunc(peers, func(a, b *Affiliate) bool { return a.KubeSpan.PublicKey == b.KubeSpan.PublicKey })
}
