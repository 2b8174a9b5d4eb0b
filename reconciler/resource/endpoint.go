package resource

import "net/netip"

// Endpoints has the endpoints at which peers are up, by public key.
var Endpoints = &Type{
	Name:      "KubeSpanEndpoints",
	Namespace: "kubespan",
	Aliases:   []string{"kubespanendpoints", "kubespanendpoint", "endpoints", "endpoint", "kse", "kses"},
	columns: []column{
		columnOf("ENDPOINT", func(e Endpoint) string { return e.Endpoint.String() }),
		columnOf("AFFILIATE ID", func(e Endpoint) string { return e.AffiliateID }),
		wide(columnOf("LABEL", func(e Endpoint) string { return e.Label })),
	},
	names:  namesOf(func(e Endpoint) []string { return []string{e.Label, e.AffiliateID} }),
	sample: Endpoint{},
}

// Endpoint is the spec of Endpoints.
type Endpoint struct {
	// AffiliateID is the node ID of the peer.
	AffiliateID string `json:"affiliateID"`
	// Label is the name of the peer.
	Label string `json:"label"`
	// Endpoint is where the peer answers.
	Endpoint netip.AddrPort `json:"endpoint"`
}

// Equal reports whether other is an equal spec.
func (e Endpoint) Equal(other any) bool { return any(e) == other }
