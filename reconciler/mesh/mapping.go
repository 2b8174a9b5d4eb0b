package mesh

import (
	"net/netip"
	"slices"
)

// Mapping is how the NAT in front of a machine maps the UDP port of its WireGuard, as its peers see
// it. The zero value is not known.
type Mapping struct {
	// Address is the outer address.
	Address netip.Addr
	// Ports are those at which peers have seen the machine there, sorted, without its own port.
	Ports []uint16
}

// PerPeer reports whether the NAT gives the machine another port for each peer, so that what one
// peer sees is of no use to another one (RFC 4787, section 4.1: address-dependent mapping).
func (m Mapping) PerPeer() bool { return len(m.Ports) > 1 }

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
