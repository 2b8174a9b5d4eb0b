package mesh

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/schema"
)

// Host is what the mesh needs to know about this machine.
type Host struct {
	Hostname        string
	OperatingSystem string
	// MAC is the MAC of the first physical interface by name; nil for none, as in a
	// container.
	MAC net.HardwareAddr
	// Addresses are the addresses at which other machines can reach this one, in the order
	// of links. Those of the mesh link are not among them.
	Addresses []netip.Addr
	// OnDefault is how many of the Addresses, from the first, are on links with a default route.
	OnDefault int
	// Links are the links with these addresses or a default route.
	Links []Link
	// Own are all addresses of the machine, also those that others cannot reach. Those of the
	// mesh link are not among them.
	Own []netip.Addr
	// Connected are the networks that the machine's links are attached to, but for the mesh
	// link.
	Connected []Connected
	// Forwards is set when the machine forwards IPv6 packets, as a relay has to.
	Forwards bool
	// Offline says for each link why it does not connect the machine to others; empty if one does.
	Offline []OfflineLink
	// ForwardsIPv4 is set when it forwards IPv4 packets.
	ForwardsIPv4 bool
	// Conditions are what is wrong with the machine's network.
	Conditions []condition.Condition
}

// Equal reports whether all fields are equal, but for Own and Connected: what these have more
// than the others does not concern how peers are reached.
func (h Host) Equal(other Host) bool {
	return h.Hostname == other.Hostname && h.OperatingSystem == other.OperatingSystem && h.Forwards == other.Forwards && h.ForwardsIPv4 == other.ForwardsIPv4 && h.OnDefault == other.OnDefault &&
		bytes.Equal(h.MAC, other.MAC) && slices.Equal(h.Conditions, other.Conditions) && slices.Equal(h.Offline, other.Offline) && slices.Equal(h.Addresses, other.Addresses) &&
		slices.EqualFunc(h.Links, other.Links, func(a, b Link) bool {
			return a.Name == b.Name && a.MTU == b.MTU && a.Default == b.Default && a.Gateway == b.Gateway && a.Up == b.Up && slices.Equal(a.Networks, b.Networks)
		})
}

// SameTerritory reports whether both have the same addresses and networks.
func (h Host) SameTerritory(other Host) bool {
	return slices.Equal(h.Own, other.Own) && slices.Equal(h.Connected, other.Connected)
}

// LinkChoice returns whether the config names a link, and whether it then wants its addresses
// announced. Nil names none.
type LinkChoice func(name string) (named, wanted bool)

// Of returns the choice for a link.
func (c LinkChoice) Of(name string) (named, wanted bool) {
	if c == nil {
		return false, false
	}
	return c(name)
}

// Link is a network interface that leads to other machines.
type Link struct {
	Name string
	// MTU is in bytes.
	MTU int
	// Networks are the networks of the link's addresses.
	Networks []netip.Prefix
	// Default is set when a default route uses the link.
	Default bool
	// Gateway is the gateway of that route; invalid for none.
	Gateway netip.Addr
	// Up is set when the link has a carrier.
	Up bool
}

// Node is the machine's Node in a Kubernetes cluster. The zero value is a machine without
// one.
type Node struct {
	// Name is the name of the Node; empty where it is the hostname.
	Name string `json:"name"`
	// PodNetworks are the networks of the pods on the machine.
	PodNetworks []netip.Prefix `json:"podNetworks,omitempty"`
	// ControlPlane is set when the machine runs the control plane.
	ControlPlane bool `json:"controlPlane,omitempty"`
	// APIServerPort is the port of the machine's API server; 0 if unknown.
	APIServerPort int `json:"apiServerPort,omitempty"`
}

// LocalAffiliate returns what this machine publishes. Seen are the machine's addresses as
// others see them, such as a discovery service outside its NAT; outside is how a NAT maps its port.
// Addresses in the networks of its pods are not published: a network plugin may use the same ones on every machine. If the
// machine has more addresses than discovery takes, the best are published, and a condition says so.
func LocalAffiliate(id Identity, config *schema.KubeSpan, host Host, seen []netip.Addr, outside Outside, node Node) (Affiliate, []condition.Condition) {
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
	classOf := classes(host, seen)
	if !config.Enabled {
		a.Addresses = best(addresses, maxAddresses, classOf)
		return a, nil
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
		Relay:                     config.Relay.OffersForwarding() && host.Forwards,
	}
	a.Addresses = best(addresses, roomForAddresses(&a.KubeSpan, config.Relay.Offer)-len(config.Addresses), classOf)
	found := tooMany("addresses", len(a.Addresses), len(addresses), "exclude links with machine.network.kubespan.filters.interfaces")
	for _, address := range config.Addresses {
		a.Addresses = unite(a.Addresses, []netip.Addr{address.Addr()})
	}
	all := slices.DeleteFunc(unite(addresses, seen), id.Subnet.Contains)
	reachable := schema.Select(config.Filters.Endpoints, all)
	if len(reachable) == 0 && len(all) > 0 && len(config.ExtraAnnouncedEndpoints) == 0 {
		found = append(found, passesNothing("filters.endpoints",
			fmt.Sprintf("none of the %d addresses of this machine is announced: the filter lets none through", len(all))))
	}
	mapped := mappedEndpoints(id, config, outside)
	announced := best(reachable, MaxEndpoints-len(config.ExtraAnnouncedEndpoints)-len(mapped), classOf)
	a.KubeSpan.Endpoints = endpoints(config, announced, mapped)
	return a, append(found, tooMany("endpoints", len(announced), len(reachable),
		"choose some with machine.network.kubespan.filters.endpoints, or exclude links with filters.interfaces")...)
}

func masked(prefixes []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		out = append(out, p.Masked())
	}
	return slices.Clip(unite(nil, out))
}

// mappedEndpoints returns the endpoints that a NAT gives to the machine and that it may announce.
func mappedEndpoints(id Identity, config *schema.KubeSpan, outside Outside) []netip.AddrPort {
	return slices.DeleteFunc(outside.Endpoints(), func(e netip.AddrPort) bool {
		return !IsOutside(id.Subnet, config, e.Addr()) || len(schema.Select(config.Filters.Endpoints, []netip.Addr{e.Addr()})) == 0
	})
}

// IsOutside reports whether an address may be one that a machine has outside of a mesh with that subnet
// and config.
func IsOutside(subnet netip.Prefix, config *schema.KubeSpan, a netip.Addr) bool {
	return a.IsGlobalUnicast() && !subnet.Contains(a) &&
		!slices.ContainsFunc(config.Addresses, func(n netip.Prefix) bool { return n.Masked().Contains(a) })
}

// endpoints returns the addresses with the listen port, and then the config's extra endpoints. What a
// NAT has mapped the port to comes before a guess that it is the same outside.
func endpoints(config *schema.KubeSpan, addresses []netip.Addr, mapped []netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, address := range addresses {
		for _, e := range mapped {
			if e.Addr() == address {
				out = append(out, e)
			}
		}
		out = append(out, netip.AddrPortFrom(address, uint16(config.ListenPort)))
	}
	return unite(unite(nil, out), unite(mapped, config.ExtraAnnouncedEndpoints))
}
