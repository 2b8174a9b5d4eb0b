package resource

import (
	"net/netip"
	"slices"
)

// PeerSpecs has the peers as discovery describes them, by public key.
var PeerSpecs = &Type{
	Name:      "KubeSpanPeerSpecs",
	Namespace: "kubespan",
	Aliases:   []string{"kubespanpeerspecs", "kubespanpeerspec", "ksps"},
	columns: []column{
		columnOf("LABEL", func(s PeerSpec) string { return s.Label }),
		columnOf("ENDPOINTS", func(s PeerSpec) string { return jsonCell(s.Endpoints) }),
	},
	sample: PeerSpec{},
}

// PeerSpec is the spec of PeerSpecs.
type PeerSpec struct {
	Address    netip.Addr       `json:"address"`
	AllowedIPs []netip.Prefix   `json:"allowedIPs"`
	Endpoints  []netip.AddrPort `json:"endpoints"`
	Label      string           `json:"label"`
	// Overlap says which addresses that this peer claims belong to another one; empty for
	// none.
	Overlap string `json:"overlap,omitempty"`
}

// Equal reports whether other is an equal spec.
func (s PeerSpec) Equal(other any) bool {
	o, ok := other.(PeerSpec)
	return ok && s.Address == o.Address && s.Label == o.Label && s.Overlap == o.Overlap &&
		slices.Equal(s.AllowedIPs, o.AllowedIPs) && slices.Equal(s.Endpoints, o.Endpoints)
}
