package resource

import (
	"errors"
	"net/netip"
	"slices"
)

// MeshNames has the names by which this machine resolves those of the mesh, by the first of them. It is
// empty where the config does not ask for names.
var MeshNames = &Type{
	Name:      "MeshNames",
	Namespace: "kubespan",
	Aliases:   []string{"names", "name"},
	columns: []column{
		columnOf("ADDRESSES", func(n MeshName) string { return jsonCell(n.Addresses) }),
		columnOf("ALIASES", func(n MeshName) string { return jsonCell(n.Aliases) }),
		wide(columnOf("NODE ID", func(n MeshName) string { return n.NodeID })),
		shows("publicKey", wide(columnOf("KEY", func(n MeshName) string { return n.PublicKey }))),
	},
	names:  namesOf(func(n MeshName) []string { return append([]string{n.Label, n.NodeID, n.PublicKey}, n.Aliases...) }),
	sample: MeshName{},
}

// MeshName is the spec of MeshNames.
type MeshName struct {
	// Label is the name without its domain.
	Label string `json:"label"`
	// Aliases are other names of the machine.
	Aliases []string `json:"aliases,omitempty"`
	// Addresses are its addresses in the mesh.
	Addresses []netip.Addr `json:"addresses"`
	// NodeID is the ID of the machine in discovery.
	NodeID string `json:"nodeId"`
	// PublicKey is its public key.
	PublicKey string `json:"publicKey"`
}

// Equal reports whether other is an equal spec.
func (n MeshName) Equal(other any) bool {
	o, ok := other.(MeshName)
	return ok && n.Label == o.Label && n.NodeID == o.NodeID && n.PublicKey == o.PublicKey && slices.Equal(n.Aliases, o.Aliases) && slices.Equal(n.Addresses, o.Addresses)
}

// Named returns the machine that a name in the mesh means, with its domain or without.
func Named(store *Store, word string) (n MeshName, found bool) {
	for _, r := range store.List(MeshNames) {
		if MeshNames.Means(r, word) {
			n, found = r.Spec.(MeshName)
			return n, found
		}
	}
	return n, false
}

// FindNamed is Find that also knows names in the mesh.
func FindNamed(store *Store, t *Type, list []Resource, word string) (r Resource, err error) {
	r, err = Find(t, list, word)
	if missing := (*NotFoundError)(nil); !errors.As(err, &missing) {
		return r, err
	}
	if n, named := Named(store, word); named {
		for _, id := range []string{n.PublicKey, n.NodeID} {
			if r, err := Find(t, list, id); err == nil {
				return r, nil
			}
		}
	}
	return r, err
}
