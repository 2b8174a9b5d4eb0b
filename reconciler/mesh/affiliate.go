package mesh

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// Affiliate is what a machine publishes about itself. Empty fields are unknown. One that a registry has
// made known is shared by all that use it, and must not be changed.
type Affiliate struct {
	// NodeID is the ID of the machine in discovery.
	NodeID string `json:"nodeId"`
	// Addresses are those of its links.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Hostname is its host name.
	Hostname string `json:"hostname,omitempty"`
	// Nodename is the name of its Kubernetes Node, or its host name. A machine without one is no
	// member.
	Nodename string `json:"nodename,omitempty"`
	// MachineType is "worker" or "controlplane".
	MachineType string `json:"machineType,omitempty"`
	// OperatingSystem is its name and version.
	OperatingSystem string `json:"operatingSystem,omitempty"`
	// Version is that of spanctl on it; empty on Talos, and where Kubernetes alone knows the machine.
	Version string `json:"version,omitempty"`
	// KubeSpan is what peers need to reach it through the mesh.
	KubeSpan KubeSpan `json:"kubespan,omitzero"`
	// ControlPlane is set on machines of a Kubernetes control plane.
	ControlPlane ControlPlane `json:"controlPlane,omitzero"`
	// Static is set when only this machine's config describes the affiliate.
	Static bool `json:"static,omitempty"`
	// Shared is set for a static peer that other machines may have as well. Its networks are announced
	// by the one that it is connected to.
	Shared bool `json:"shared,omitempty"`
	// Configured are the networks that this machine's config gives to the affiliate, besides
	// those that it publishes itself.
	Configured []netip.Prefix `json:"configured,omitempty"`
}

// KubeSpan is the mesh part of an affiliate. The zero value is a machine outside the mesh.
type KubeSpan struct {
	// PublicKey is the public key of WireGuard, in base64.
	PublicKey Key `json:"publicKey"`
	// Address is the machine's own address in the mesh.
	Address netip.Addr `json:"address"`
	// AdditionalAddresses are the networks that are reached through the machine.
	AdditionalAddresses []netip.Prefix `json:"additionalAddresses,omitempty"`
	// ExcludeAdvertisedNetworks are networks that peers do not route to the machine.
	ExcludeAdvertisedNetworks []netip.Prefix `json:"excludeAdvertisedNetworks,omitempty"`
	// Endpoints are where the machine may be reached.
	Endpoints []netip.AddrPort `json:"endpoints,omitempty"`
	// Relay is set when the machine carries the traffic of others. KubeSpan on Talos does
	// not publish it.
	Relay bool `json:"relay,omitempty"`
	// Relays are the relays that the machine reaches, if it wants its own traffic carried.
	// KubeSpan on Talos does not publish them.
	Relays []Key `json:"relays,omitempty"`
	// NAT is how a NAT in front of the machine maps WireGuard's port.
	NAT NAT `json:"nat,omitempty"`
	// Probes is set when an agent on the machine answers probes for paths. KubeSpan on Talos does not.
	Probes bool `json:"probes,omitempty"`
	// KnowsRelays is set when an agent on the machine registers with the blind relays that it may use.
	// KubeSpan on Talos and earlier versions do not.
	KnowsRelays bool `json:"knowsRelays,omitempty"`
	// Registered are the blind relays with which the machine is registered.
	Registered []Key `json:"registered,omitempty"`
	// RelayEndpoints are those of Endpoints that are blind relays', by which machines without an agent
	// reach this one. Registries may still have some that were withdrawn.
	RelayEndpoints []netip.AddrPort `json:"relayEndpoints,omitempty"`
	// Offer is the blind relay that the machine is for the others.
	Offer RelayOffer `json:"offer,omitzero"`
}

// IsZero reports whether the machine is not in the mesh.
func (k KubeSpan) IsZero() bool { return k.PublicKey.IsZero() }

// WithoutAgent reports whether no agent on the machine knows relays: it is a Talos node, has an earlier
// version, or was set up by commands alone.
func (k *KubeSpan) WithoutAgent() bool { return !k.KnowsRelays && !k.Probes && len(k.Registered) == 0 }

// OwnEndpoints returns the endpoints that are not those of relays.
func (k *KubeSpan) OwnEndpoints() []netip.AddrPort {
	isOfRelay := func(e netip.AddrPort) bool { return slices.Contains(k.RelayEndpoints, e) }
	if !slices.ContainsFunc(k.Endpoints, isOfRelay) {
		return k.Endpoints
	}
	return slices.DeleteFunc(slices.Clone(k.Endpoints), isOfRelay)
}

// ControlPlane is the control plane part of an affiliate.
type ControlPlane struct {
	// APIServerPort is the port of its Kubernetes API server.
	APIServerPort int `json:"apiServerPort,omitempty"`
}

// The machine types: whether a machine runs the control plane of a Kubernetes cluster.
const (
	MachineTypeWorker       = "worker"
	MachineTypeControlPlane = "controlplane"
)

// Merge joins the affiliates of several registries by node ID. Lists are concatenated
// without duplicates. Of other fields, the last registry's value that is not empty wins. An
// affiliate with the node ID of a static peer is left out unless it is Static. The result is
// sorted by node ID. It is the list of a single registry itself, where that is so already. Affiliates that
// one registry alone has are those of its list.
func Merge(registries ...[]*Affiliate) []*Affiliate {
	isImpostor := func(a *Affiliate) bool { return !a.Static && isStaticID(a.NodeID) }
	if len(registries) == 1 && isSorted(registries[0]) && !slices.ContainsFunc(registries[0], isImpostor) {
		return registries[0]
	}
	if len(registries) == 2 && isSorted(registries[0]) && isSorted(registries[1]) {
		return mergeSorted(registries[0], registries[1])
	}
	merged := map[string]*Affiliate{}
	for _, registry := range registries {
		for _, a := range registry {
			if !a.Static && isStaticID(a.NodeID) {
				continue
			}
			if known, ok := merged[a.NodeID]; ok {
				a = join(known, a)
			}
			merged[a.NodeID] = a
		}
	}
	return slices.SortedFunc(maps.Values(merged), func(a, b *Affiliate) int { return cmp.Compare(a.NodeID, b.NodeID) })
}

// isSorted reports whether affiliates are sorted by node ID, each once.
func isSorted(affiliates []*Affiliate) bool {
	for i := 1; i < len(affiliates); i++ {
		if affiliates[i-1].NodeID >= affiliates[i].NodeID {
			return false
		}
	}
	return true
}

// mergeSorted is Merge of two lists that are sorted.
func mergeSorted(a, b []*Affiliate) []*Affiliate {
	merged := make([]*Affiliate, 0, len(a)+len(b))
	add := func(x *Affiliate) {
		if !x.Static && isStaticID(x.NodeID) {
			return
		}
		if last := len(merged) - 1; last >= 0 && merged[last].NodeID == x.NodeID {
			merged[last] = join(merged[last], x)
			return
		}
		merged = append(merged, x)
	}
	for len(a) > 0 || len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0].NodeID <= b[0].NodeID {
			add(a[0])
			a = a[1:]
			continue
		}
		add(b[0])
		b = b[1:]
	}
	return merged
}

// join returns an affiliate with what two know of one machine.
func join(a, b *Affiliate) *Affiliate {
	return &Affiliate{
		NodeID:          a.NodeID,
		Addresses:       unite(a.Addresses, b.Addresses),
		Hostname:        cmp.Or(b.Hostname, a.Hostname),
		Nodename:        cmp.Or(b.Nodename, a.Nodename),
		MachineType:     cmp.Or(b.MachineType, a.MachineType),
		OperatingSystem: cmp.Or(b.OperatingSystem, a.OperatingSystem),
		Version:         cmp.Or(b.Version, a.Version),
		ControlPlane:    cmp.Or(b.ControlPlane, a.ControlPlane),
		KubeSpan: KubeSpan{
			PublicKey:                 cmp.Or(b.KubeSpan.PublicKey, a.KubeSpan.PublicKey),
			Address:                   cmp.Or(b.KubeSpan.Address, a.KubeSpan.Address),
			AdditionalAddresses:       unite(a.KubeSpan.AdditionalAddresses, b.KubeSpan.AdditionalAddresses),
			ExcludeAdvertisedNetworks: unite(a.KubeSpan.ExcludeAdvertisedNetworks, b.KubeSpan.ExcludeAdvertisedNetworks),
			Endpoints:                 unite(a.KubeSpan.Endpoints, b.KubeSpan.Endpoints),
			Relay:                     a.KubeSpan.Relay || b.KubeSpan.Relay,
			Relays:                    unite(a.KubeSpan.Relays, b.KubeSpan.Relays),
			NAT:                       cmp.Or(b.KubeSpan.NAT, a.KubeSpan.NAT),
			Probes:                    a.KubeSpan.Probes || b.KubeSpan.Probes,
			KnowsRelays:               a.KubeSpan.KnowsRelays || b.KubeSpan.KnowsRelays,
			Registered:                unite(a.KubeSpan.Registered, b.KubeSpan.Registered),
			RelayEndpoints:            unite(a.KubeSpan.RelayEndpoints, b.KubeSpan.RelayEndpoints),
			Offer:                     a.KubeSpan.Offer.or(b.KubeSpan.Offer),
		},
	}
}

// unite returns a, followed by the elements of b that are not in a.
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

// Member is an affiliate with a nodename.
type Member struct {
	// ID is the nodename, with the node ID where several machines share it.
	ID              string
	Nodename        string
	NodeID          string
	Addresses       []netip.Addr
	Hostname        string
	MachineType     string
	OperatingSystem string
	Version         string
}

// Members returns the affiliates with a nodename, sorted by nodename and node ID.
func Members(affiliates []*Affiliate) []Member {
	named := map[string]int{}
	for i := range affiliates {
		named[affiliates[i].Nodename]++
	}
	members := make([]Member, 0, len(affiliates))
	for i := range affiliates {
		if m, is := MemberOf(affiliates[i], named[affiliates[i].Nodename] > 1); is {
			members = append(members, m)
		}
	}
	slices.SortFunc(members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Nodename, b.Nodename), cmp.Compare(a.NodeID, b.NodeID))
	})
	return members
}

// MemberOf returns the member that an affiliate is, if it has a nodename. Shared is set where others have that
// too.
func MemberOf(a *Affiliate, shared bool) (m Member, is bool) {
	if a.Nodename == "" {
		return m, false
	}
	m = Member{
		ID:              a.Nodename,
		Nodename:        a.Nodename,
		NodeID:          a.NodeID,
		Addresses:       slices.Clone(a.Addresses),
		Hostname:        a.Hostname,
		MachineType:     a.MachineType,
		OperatingSystem: a.OperatingSystem,
		Version:         a.Version,
	}
	if a.KubeSpan.Address.IsValid() && !slices.Contains(m.Addresses, a.KubeSpan.Address) {
		m.Addresses = append(m.Addresses, a.KubeSpan.Address)
	}
	if shared {
		m.ID += "/" + a.NodeID
	}
	return m, true
}

// Equal reports whether both are the same.
func (a *Affiliate) Equal(b *Affiliate) bool {
	return a == b || a.NodeID == b.NodeID && a.Hostname == b.Hostname && a.Nodename == b.Nodename && a.MachineType == b.MachineType &&
		a.OperatingSystem == b.OperatingSystem && a.Version == b.Version && a.ControlPlane == b.ControlPlane &&
		a.Static == b.Static && a.Shared == b.Shared &&
		slices.Equal(a.Configured, b.Configured) && slices.Equal(a.Addresses, b.Addresses) && a.KubeSpan.equal(&b.KubeSpan)
}

func (k *KubeSpan) equal(o *KubeSpan) bool {
	return k.PublicKey == o.PublicKey && k.Address == o.Address && k.Relay == o.Relay && k.NAT == o.NAT &&
		k.Probes == o.Probes && k.KnowsRelays == o.KnowsRelays &&
		slices.Equal(k.AdditionalAddresses, o.AdditionalAddresses) &&
		slices.Equal(k.ExcludeAdvertisedNetworks, o.ExcludeAdvertisedNetworks) && slices.Equal(k.Endpoints, o.Endpoints) &&
		slices.Equal(k.RelayEndpoints, o.RelayEndpoints) && slices.Equal(k.Relays, o.Relays) &&
		slices.Equal(k.Registered, o.Registered) && k.Offer.Equal(o.Offer)
}
