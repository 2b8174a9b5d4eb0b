package resource

import (
	"net/netip"
	"slices"
)

// PeerSpecs has the peers as discovery describes them, by public key.
var PeerSpecs = &Type{
	Name:      "KubeSpanPeerSpecs",
	Namespace: "kubespan",
	Aliases:   []string{"kubespanpeerspecs", "kubespanpeerspec", "peerspecs", "peerspec"},
	columns: []column{
		columnOf("LABEL", func(s PeerSpec) string { return s.Label }),
		columnOf("ENDPOINTS", func(s PeerSpec) string { return jsonCell(s.Endpoints) }),
		wide(columnOf("ADDRESS", func(s PeerSpec) string { return addressCell(s.Address) })),
		wide(columnOf("ALLOWED IPS", func(s PeerSpec) string { return jsonCell(s.AllowedIPs) })),
	},
	names:  namesOf(func(s PeerSpec) []string { return []string{s.Label} }),
	sample: PeerSpec{},
}

// PeerSpec is the spec of PeerSpecs.
type PeerSpec struct {
	// Address is the peer's own address in the mesh.
	Address netip.Addr `json:"address"`
	// AllowedIPs are the prefixes that are routed to the peer.
	AllowedIPs []netip.Prefix `json:"allowedIPs"`
	// Endpoints are those that are tried, the most promising first.
	Endpoints []netip.AddrPort `json:"endpoints"`
	// Label is the name of the peer.
	Label string `json:"label"`
	// RefusedEndpoints are those that this machine does not try.
	RefusedEndpoints []RefusedEndpoint `json:"refusedEndpoints,omitempty"`
	// Claims are the prefixes that the peer publishes, each with its owner.
	Claims []Claim `json:"claims"`
}

// RefusedEndpoint is an endpoint that discovery has and this machine does not try.
type RefusedEndpoint struct {
	// Endpoint is the address and port.
	Endpoint netip.AddrPort `json:"endpoint"`
	// Reason says why.
	Reason string `json:"reason"`
}

// Claim is a prefix that a peer publishes.
type Claim struct {
	// Prefix is an address or a network.
	Prefix netip.Prefix `json:"prefix"`
	// Kind is "mesh address", "own address" or "network"; empty for a prefix that is refused.
	Kind string `json:"kind,omitempty"`
	// Owner is the label of the peer that has the prefix, "local" for this machine, and empty for
	// nobody.
	Owner string `json:"owner,omitempty"`
	// Reason says why.
	Reason string `json:"reason,omitempty"`
}

// Equal reports whether other is an equal spec.
func (s PeerSpec) Equal(other any) bool {
	o, ok := other.(PeerSpec)
	return ok && s.Address == o.Address && s.Label == o.Label && slices.Equal(s.Claims, o.Claims) &&
		slices.Equal(s.AllowedIPs, o.AllowedIPs) && slices.Equal(s.Endpoints, o.Endpoints) && slices.Equal(s.RefusedEndpoints, o.RefusedEndpoints)
}
