package mesh

import (
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
}

// LocalAffiliate is what a machine with this identity, config and host
// publishes. Seen are the machine's addresses as others see them, such as a
// discovery service behind a NAT.
func LocalAffiliate(id Identity, config *schema.KubeSpan, host Host, seen []netip.Addr) Affiliate {
	addresses := slices.DeleteFunc(slices.Clone(host.Addresses), id.Subnet.Contains)
	a := Affiliate{
		NodeID:          id.NodeID,
		Addresses:       addresses,
		Hostname:        host.Hostname,
		Nodename:        host.Hostname,
		MachineType:     MachineTypeWorker,
		OperatingSystem: host.OperatingSystem,
	}
	if !config.Enabled {
		return a
	}
	a.KubeSpan = KubeSpan{
		PublicKey:                 id.PublicKey,
		Address:                   id.Address.Addr(),
		ExcludeAdvertisedNetworks: config.Filters.ExcludeAdvertisedNetworks,
		Endpoints:                 endpoints(id, config, unite(addresses, seen)),
	}
	return a
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
