package mesh

import (
	"bytes"
	"cmp"
	"net"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/schema"
)

// Host is what the mesh needs to know of the machine it runs on.
type Host struct {
	Hostname        string
	OperatingSystem string
	// MAC is that of the first physical interface in the order of names, or
	// nil where there is none, as in a container.
	MAC net.HardwareAddr
	// Addresses are those under which the machine can be reached from other
	// machines, in the order of links and without the mesh's own link.
	Addresses []netip.Addr
	// Links are those that have these addresses or a default route.
	Links []Link
	// Forwards tells that the machine passes on IPv6 packets, of which the mesh's
	// addresses are.
	Forwards bool
}

// Equal tells whether two hosts look the same to the mesh.
func (h Host) Equal(other Host) bool {
	return h.Hostname == other.Hostname && h.OperatingSystem == other.OperatingSystem && h.Forwards == other.Forwards &&
		bytes.Equal(h.MAC, other.MAC) && slices.Equal(h.Addresses, other.Addresses) &&
		slices.EqualFunc(h.Links, other.Links, func(a, b Link) bool {
			return a.Name == b.Name && a.MTU == b.MTU && a.Default == b.Default && a.Gateway == b.Gateway && a.Up == b.Up && slices.Equal(a.Networks, b.Networks)
		})
}

// Link is a link that leads to other machines.
type Link struct {
	Name string
	// MTU is in bytes.
	MTU int
	// Networks are those that the link is in, by its addresses.
	Networks []netip.Prefix
	// Default tells that a default route leads over it, to Gateway if there is one.
	Default bool
	Gateway netip.Addr
	// Up tells that it has a carrier.
	Up bool
}

// Node is what a Kubernetes cluster says of the machine; its zero value means that the
// machine is in none.
type Node struct {
	// Name is that of the Node, "" for the host's.
	Name string `json:"name"`
	// PodNetworks are those of the pods on the machine.
	PodNetworks []netip.Prefix `json:"podNetworks,omitempty"`
	// ControlPlane tells a machine of the control plane, APIServerPort where its API
	// server is, 0 for unknown.
	ControlPlane  bool `json:"controlPlane,omitempty"`
	APIServerPort int  `json:"apiServerPort,omitempty"`
}

// LocalAffiliate is what a machine with this identity, config and host
// publishes. Seen are the machine's addresses as others see them, such as a
// discovery service behind a NAT. Addresses in the networks of its pods are not the
// machine's for others: they are the same wherever the cluster's network plugin says so.
func LocalAffiliate(id Identity, config *schema.KubeSpan, host Host, seen []netip.Addr, node Node) Affiliate {
	addresses := slices.DeleteFunc(slices.Clone(host.Addresses), func(a netip.Addr) bool {
		return id.Subnet.Contains(a) || slices.ContainsFunc(node.PodNetworks, func(n netip.Prefix) bool { return n.Contains(a) })
	})
	a := Affiliate{
		NodeID:          id.NodeID,
		Addresses:       addresses,
		Hostname:        host.Hostname,
		Nodename:        cmp.Or(node.Name, host.Hostname),
		MachineType:     MachineTypeWorker,
		OperatingSystem: host.OperatingSystem,
		ControlPlane:    ControlPlane{APIServerPort: node.APIServerPort},
	}
	if node.ControlPlane || node.APIServerPort != 0 {
		a.MachineType = MachineTypeControlPlane
	}
	if !config.Enabled {
		return a
	}
	networks := slices.Clone(config.AdvertisedNetworks)
	for _, address := range config.Addresses {
		networks = append(networks, netip.PrefixFrom(address.Addr(), address.Addr().BitLen()))
	}
	if config.AdvertiseKubernetesNetworks {
		networks = unite(networks, node.PodNetworks)
	}
	a.KubeSpan = KubeSpan{
		PublicKey:                 id.PublicKey,
		Address:                   id.Address.Addr(),
		AdditionalAddresses:       masked(networks),
		ExcludeAdvertisedNetworks: config.Filters.ExcludeAdvertisedNetworks,
		Endpoints:                 endpoints(id, config, unite(addresses, seen)),
		Relay:                     config.Relay.Offer && host.Forwards,
	}
	return a
}

func masked(prefixes []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		out = append(out, p.Masked())
	}
	return slices.Clip(unite(nil, out))
}

// endpoints lists where WireGuard can be reached: the addresses that pass the
// filter, with the listen port, then what the config adds.
func endpoints(id Identity, config *schema.KubeSpan, addresses []netip.Addr) []netip.AddrPort {
	var out []netip.AddrPort
	for _, address := range addresses {
		if !id.Subnet.Contains(address) && Passes(config.Filters.Endpoints, address) {
			out = append(out, netip.AddrPortFrom(address, uint16(config.ListenPort)))
		}
	}
	return unite(out, config.ExtraAnnouncedEndpoints)
}

// Passes tells whether a filter lets an address through: it is in no network
// that is excluded, and in one that is included if the filter includes any.
func Passes(filters []schema.Filter, address netip.Addr) bool {
	included, includes := false, false
	for _, f := range filters {
		if f.Exclude {
			if f.Prefix.Contains(address) {
				return false
			}
			continue
		}
		includes = true
		included = included || f.Prefix.Contains(address)
	}
	return included || !includes
}
