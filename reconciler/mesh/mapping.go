package mesh

import (
	"net/netip"
	"slices"
)

// NAT is a kind of mapping of a NAT (RFC 4787, section 4.1).
type NAT string

// The kinds of mapping.
const (
	// NATUnknown means that the kind is not known.
	NATUnknown NAT = ""
	// NATNone means that there is no NAT on the way to the servers that were asked.
	NATNone NAT = "none"
	// NATIndependent is a NAT that gives the machine one port for all destinations.
	NATIndependent NAT = "independent"
	// NATDependent is a NAT that gives the machine another port for another destination.
	NATDependent NAT = "dependent"
)

// Mapping is how the NAT in front of a machine maps the UDP port of its WireGuard, as servers that
// the machine has asked see it, or else its peers. The zero value is not known.
type Mapping struct {
	// Kind is what the servers have shown.
	Kind NAT
	// Address is the outer address.
	Address netip.Addr
	// Ports are those at which servers, or peers, have seen the machine there, sorted. Those that
	// peers see are without the machine's own port. Of a NAT that servers have shown to be
	// NATDependent there are none.
	Ports []uint16
}

// PerPeer reports whether the NAT gives the machine another port for each peer, so that what one
// peer sees is of no use to another one (RFC 4787, section 4.1: address-dependent mapping).
func (m Mapping) PerPeer() bool {
	return m.Kind == NATDependent || m.Kind == NATUnknown && len(m.Ports) > 1
}

// Equal reports whether both are the same.
func (m Mapping) Equal(other Mapping) bool {
	return m.Kind == other.Kind && m.Address == other.Address && slices.Equal(m.Ports, other.Ports)
}

// PortMapping is a port that the router maps to that of a machine's WireGuard, since the machine has
// asked it to.
type PortMapping struct {
	// Endpoint is the router's address outside, with the port.
	Endpoint netip.AddrPort
	// Protocol is the one that the router was asked by, such as "PCP".
	Protocol string
}

// PortMappingFault is why a router maps no port of an IP version.
type PortMappingFault struct {
	// Router is its address.
	Router netip.Addr
	// Refused is set if it has refused; else it has not answered by any protocol.
	Refused bool
	// Text has what came of each protocol, for people.
	Text string
}

// Outside is how the NATs in front of a machine map the UDP port of its WireGuard.
type Outside struct {
	// IPv4 and IPv6 are what servers see, by IP version.
	IPv4, IPv6 Mapping
	// Router are the port mappings of the router, at most one of each IP version.
	Router []PortMapping
	// RouterFaults are why there is none, at most one of each IP version.
	RouterFaults []PortMappingFault
}

// Equal reports whether both are the same.
func (o Outside) Equal(other Outside) bool {
	return o.IPv4.Equal(other.IPv4) && o.IPv6.Equal(other.IPv6) && slices.Equal(o.Router, other.Router) && slices.Equal(o.RouterFaults, other.RouterFaults)
}

// sharedNetwork has the addresses between providers' NATs and those of their customers (RFC 6598).
var sharedNetwork = netip.MustParsePrefix("100.64.0.0/10")

// IsBehindNAT reports whether another NAT is in front of a router that maps a port: its outer address is
// none of the internet's, or not the one that servers see.
func (o Outside) IsBehindNAT(m PortMapping) bool {
	a := m.Endpoint.Addr()
	return a.Is4() && (a.IsPrivate() || sharedNetwork.Contains(a) || o.IPv4.Address.IsValid() && o.IPv4.Address != a)
}

// IsMapped reports whether the router maps a port of IPv4 by which everybody reaches the machine.
func (o Outside) IsMapped() bool {
	return slices.ContainsFunc(o.Router, func(m PortMapping) bool { return m.Endpoint.Addr().Is4() && !o.IsBehindNAT(m) })
}

// Endpoints returns the endpoints at which all peers reach the machine behind a NAT. Those that the
// router maps come first: they let anybody in.
func (o Outside) Endpoints() (all []netip.AddrPort) {
	for _, m := range o.Router {
		all = append(all, m.Endpoint)
	}
	for _, m := range []Mapping{o.IPv4, o.IPv6} {
		if m.Kind == NATIndependent && len(m.Ports) == 1 {
			all = append(all, netip.AddrPortFrom(m.Address, m.Ports[0]))
		}
	}
	return unite(nil, all)
}

// Or returns the mapping of IPv4, which NATs are for, if servers have shown its kind, or else what
// peers see.
func (o Outside) Or(peers Mapping) Mapping {
	if o.IPv4.Kind != NATUnknown || !peers.Address.IsValid() {
		return o.IPv4
	}
	return peers
}

// OwnMapping returns the mapping of this machine. Listed are its endpoints in discovery, where peers
// add those at which they see it; announced are those that it has published itself, and port is its
// own.
func OwnMapping(listed, announced []netip.AddrPort, port uint16) Mapping {
	return mappingOf(listed, func(e netip.AddrPort) bool { return e.Port() == port || slices.Contains(announced, e) })
}

// PeerMapping returns the mapping of another machine by its endpoints in discovery. Which of them it
// has published itself is not known: its port is the one that most of them have.
func PeerMapping(listed []netip.AddrPort) Mapping {
	own := commonPort(listed)
	return mappingOf(listed, func(e netip.AddrPort) bool { return e.Port() == own })
}

// mappingOf returns the mapping of the address that has most ports.
func mappingOf(listed []netip.AddrPort, isOwn func(netip.AddrPort) bool) (most Mapping) {
	ports := map[netip.Addr][]uint16{}
	for _, e := range listed {
		if !isOwn(e) && !slices.Contains(ports[e.Addr()], e.Port()) {
			ports[e.Addr()] = append(ports[e.Addr()], e.Port())
		}
	}
	for address, seen := range ports {
		if len(seen) > len(most.Ports) || len(seen) == len(most.Ports) && address.Less(most.Address) {
			most = Mapping{Address: address, Ports: seen}
		}
	}
	slices.Sort(most.Ports)
	return most
}

// commonPort returns the port that most endpoints have, the lowest of several; 0 for none.
func commonPort(listed []netip.AddrPort) (common uint16) {
	count := map[uint16]int{}
	for _, e := range listed {
		count[e.Port()]++
	}
	for port, n := range count {
		if n > count[common] || n == count[common] && port < common {
			common = port
		}
	}
	return common
}
