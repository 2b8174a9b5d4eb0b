package resource

import "github.com/spanmesh/span/reconciler/mesh"

// Affiliates has the affiliates of all registries, by node ID.
var Affiliates = &Type{
	Name:      "Affiliates",
	Namespace: "cluster",
	Aliases:   []string{"affiliates", "affiliate"},
	columns: []column{
		columnOf("HOSTNAME", func(a Affiliate) string { return a.Hostname }),
		columnOf("MACHINE TYPE", func(a Affiliate) string { return a.MachineType }),
		columnOf("ADDRESSES", func(a Affiliate) string { return jsonCell(a.Addresses) }),
		shows("kubespan.address", wide(columnOf("MESH ADDRESS", func(a Affiliate) string { return addressCell(a.KubeSpan.Address) }))),
		wide(columnOf("REFUSED", func(a Affiliate) string { return a.Refused })),
	},
	names:  namesOf(func(a Affiliate) []string { return []string{a.Nodename, a.Hostname} }),
	sample: Affiliate{Affiliate: &mesh.Affiliate{}},
}

// Affiliate is the spec of Affiliates.
type Affiliate struct {
	*mesh.Affiliate
	// Refused is why the affiliate is not used; empty if it is.
	Refused string `json:"refused,omitempty"`
}

// Equal reports whether other is an equal spec.
func (a Affiliate) Equal(other any) bool {
	o, ok := other.(Affiliate)
	return ok && a.Refused == o.Refused && a.Affiliate.Equal(o.Affiliate)
}
