package mesh

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// Affiliate is what a machine publishes of itself. Empty fields are unknown.
type Affiliate struct {
	NodeID          string       `json:"nodeId"`
	Addresses       []netip.Addr `json:"addresses,omitempty"`
	Hostname        string       `json:"hostname,omitempty"`
	Nodename        string       `json:"nodename,omitempty"`
	MachineType     string       `json:"machineType,omitempty"`
	OperatingSystem string       `json:"operatingSystem,omitempty"`
	KubeSpan        KubeSpan     `json:"kubespan,omitzero"`
	ControlPlane    ControlPlane `json:"controlPlane,omitzero"`
	// Static is set for a peer that this machine's own config describes, and no other
	// registry has.
	Static bool `json:"static,omitempty"`
}

// KubeSpan is the mesh part of an affiliate; its zero value means that the
// machine is not in the mesh.
type KubeSpan struct {
	PublicKey                 Key              `json:"publicKey"`
	Address                   netip.Addr       `json:"address"`
	AdditionalAddresses       []netip.Prefix   `json:"additionalAddresses,omitempty"`
	ExcludeAdvertisedNetworks []netip.Prefix   `json:"excludeAdvertisedNetworks,omitempty"`
	Endpoints                 []netip.AddrPort `json:"endpoints,omitempty"`
	// Relay tells that the machine carries the traffic of others, Relays who of
	// those that do so it reaches, if it wants its own carried. KubeSpan on Talos
	// knows neither.
	Relay  bool  `json:"relay,omitempty"`
	Relays []Key `json:"relays,omitempty"`
}

// IsZero tells a machine that is not in the mesh.
func (k KubeSpan) IsZero() bool { return k.PublicKey.IsZero() }

// ControlPlane is the control plane part of an affiliate.
type ControlPlane struct {
	APIServerPort int `json:"apiServerPort,omitempty"`
}

// The types of machines, by whether they run the control plane of a Kubernetes cluster.
const (
	MachineTypeWorker       = "worker"
	MachineTypeControlPlane = "controlplane"
)

// Merge joins the affiliates that several registries know: lists are united in
// order without duplicates, and of the other fields a later registry's wins
// where it is not empty. The result is sorted by node ID. An affiliate with a node ID of
// static peers is left out unless it is Static.
func Merge(registries ...[]Affiliate) []Affiliate {
	merged := map[string]Affiliate{}
	for _, registry := range registries {
		for _, a := range registry {
			if !a.Static && IsStaticID(a.NodeID) {
				continue
			}
			if known, ok := merged[a.NodeID]; ok {
				a = join(known, a)
			}
			merged[a.NodeID] = a
		}
	}
	return slices.SortedFunc(maps.Values(merged), func(a, b Affiliate) int { return cmp.Compare(a.NodeID, b.NodeID) })
}

func join(a, b Affiliate) Affiliate {
	return Affiliate{
		NodeID:          a.NodeID,
		Addresses:       unite(a.Addresses, b.Addresses),
		Hostname:        cmp.Or(b.Hostname, a.Hostname),
		Nodename:        cmp.Or(b.Nodename, a.Nodename),
		MachineType:     cmp.Or(b.MachineType, a.MachineType),
		OperatingSystem: cmp.Or(b.OperatingSystem, a.OperatingSystem),
		ControlPlane:    cmp.Or(b.ControlPlane, a.ControlPlane),
		KubeSpan: KubeSpan{
			PublicKey:                 cmp.Or(b.KubeSpan.PublicKey, a.KubeSpan.PublicKey),
			Address:                   cmp.Or(b.KubeSpan.Address, a.KubeSpan.Address),
			AdditionalAddresses:       unite(a.KubeSpan.AdditionalAddresses, b.KubeSpan.AdditionalAddresses),
			ExcludeAdvertisedNetworks: unite(a.KubeSpan.ExcludeAdvertisedNetworks, b.KubeSpan.ExcludeAdvertisedNetworks),
			Endpoints:                 unite(a.KubeSpan.Endpoints, b.KubeSpan.Endpoints),
			Relay:                     a.KubeSpan.Relay || b.KubeSpan.Relay,
			Relays:                    unite(a.KubeSpan.Relays, b.KubeSpan.Relays),
		},
	}
}

// unite appends to a what of b it does not hold, in order.
func unite[T comparable](a, b []T) []T {
	if len(b) == 0 {
		return a
	}
	seen := make(map[T]bool, len(a)+len(b))
	united := make([]T, 0, len(a)+len(b))
	for _, list := range [][]T{a, b} {
		for _, v := range list {
			if !seen[v] {
				seen[v] = true
				united = append(united, v)
			}
		}
	}
	return united
}

// Member is an affiliate that has a name in the cluster.
type Member struct {
	Nodename        string
	NodeID          string
	Addresses       []netip.Addr
	Hostname        string
	MachineType     string
	OperatingSystem string
}

// Members lists the affiliates with a nodename, sorted by it. Where two share
// a name, the one whose node ID sorts first has it.
func Members(affiliates []Affiliate) []Member {
	byName := map[string]Member{}
	for _, a := range affiliates {
		known, taken := byName[a.Nodename]
		if a.Nodename == "" || taken && known.NodeID < a.NodeID {
			continue
		}
		m := Member{
			Nodename:        a.Nodename,
			NodeID:          a.NodeID,
			Addresses:       slices.Clone(a.Addresses),
			Hostname:        a.Hostname,
			MachineType:     a.MachineType,
			OperatingSystem: a.OperatingSystem,
		}
		if a.KubeSpan.Address.IsValid() && !slices.Contains(m.Addresses, a.KubeSpan.Address) {
			m.Addresses = append(m.Addresses, a.KubeSpan.Address)
		}
		byName[a.Nodename] = m
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b Member) int { return cmp.Compare(a.Nodename, b.Nodename) })
}
