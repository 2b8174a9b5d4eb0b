package resource

import (
	"net/netip"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Identities has this machine's identity.
var Identities = &Type{
	Name:      "KubeSpanIdentities",
	Namespace: "kubespan",
	Aliases:   []string{"kubespanidentities", "kubespanidentity", "identities", "identity", "ksi", "ksis"},
	columns: []column{
		columnOf("ADDRESS", func(s IdentitySpec) string { return s.Address.String() }),
		columnOf("PUBLICKEY", func(s IdentitySpec) string { return s.PublicKey.String() }),
		wide(columnOf("SUBNET", func(s IdentitySpec) string { return s.Subnet.String() })),
	},
	sample: IdentitySpec{},
}

// IdentitySpec is the spec of Identities.
type IdentitySpec struct {
	// Address is this machine's own address in the mesh.
	Address netip.Prefix `json:"address"`
	// Subnet is the network of all machines of the cluster.
	Subnet netip.Prefix `json:"subnet"`
	// PrivateKey is shown by Revealed only.
	PrivateKey mesh.PrivateKey `json:"-"`
	// PublicKey is the public key of WireGuard, in base64.
	PublicKey mesh.Key `json:"publicKey"`
}

// Revealed returns the spec with its secret.
func (s IdentitySpec) Revealed() any {
	return struct {
		Address    netip.Prefix `json:"address"`
		Subnet     netip.Prefix `json:"subnet"`
		PrivateKey string       `json:"privateKey"`
		PublicKey  mesh.Key     `json:"publicKey"`
	}{s.Address, s.Subnet, s.PrivateKey.Reveal(), s.PublicKey}
}
