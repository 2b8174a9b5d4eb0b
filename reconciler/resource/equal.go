package resource

import (
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Equal compares with another spec.
func (s PeerStatus) Equal(other any) bool { return any(s) == other }

// Equal compares with another spec.
func (e Endpoint) Equal(other any) bool { return any(e) == other }

// Equal compares with another spec.
func (s PeerSpec) Equal(other any) bool {
	o, ok := other.(PeerSpec)
	return ok && s.Address == o.Address && s.Label == o.Label && s.Overlap == o.Overlap &&
		slices.Equal(s.AllowedIPs, o.AllowedIPs) && slices.Equal(s.Endpoints, o.Endpoints)
}

// Equal compares with another spec.
func (m Member) Equal(other any) bool {
	o, ok := other.(Member)
	return ok && m.NodeID == o.NodeID && m.Hostname == o.Hostname && m.MachineType == o.MachineType &&
		m.OperatingSystem == o.OperatingSystem && slices.Equal(m.Addresses, o.Addresses)
}

// Equal compares with another spec.
func (a Affiliate) Equal(other any) bool {
	o, ok := other.(Affiliate)
	return ok && a.Refused == o.Refused && a.NodeID == o.NodeID && a.Hostname == o.Hostname && a.Nodename == o.Nodename &&
		a.MachineType == o.MachineType && a.OperatingSystem == o.OperatingSystem && a.ControlPlane == o.ControlPlane &&
		a.Static == o.Static && slices.Equal(a.Addresses, o.Addresses) && equalKubeSpan(a.KubeSpan, o.KubeSpan)
}

func equalKubeSpan(a, b mesh.KubeSpan) bool {
	return a.PublicKey == b.PublicKey && a.Address == b.Address && a.Relay == b.Relay && slices.Equal(a.Relays, b.Relays) &&
		slices.Equal(a.AdditionalAddresses, b.AdditionalAddresses) && slices.Equal(a.ExcludeAdvertisedNetworks, b.ExcludeAdvertisedNetworks) &&
		slices.Equal(a.Endpoints, b.Endpoints)
}
