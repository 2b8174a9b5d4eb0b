package mesh

import (
	"cmp"
	"net/netip"
	"slices"
)

// The classes of endpoints, in the order in which they are tried.
const (
	classSameNetwork = iota
	classLastGood
	classPublic
	classOther
	// classNoFamily is for endpoints of an IP version that this machine has no address
	// of.
	classNoFamily
)

// shared is the shared address space of carrier-grade NATs (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// Rank returns the endpoints of a peer in the order in which a machine with these links
// should try them: addresses of the peer in the machine's own networks, then the last good
// endpoint, public addresses, and the rest. The last good endpoint is among them although it
// may no longer be listed.
func Rank(links []Link, lastGood netip.AddrPort, peer *PeerSpec) []netip.AddrPort {
	endpoints := peer.Endpoints
	if lastGood.IsValid() && !slices.Contains(endpoints, lastGood) {
		endpoints = append(slices.Clip(endpoints), lastGood)
	}
	if len(endpoints) < 2 {
		return endpoints
	}
	has4, has6 := families(links)
	class := func(e netip.AddrPort) int {
		a := e.Addr()
		switch {
		case inNetworks(links, a) && slices.Contains(peer.Addresses, a):
			return classSameNetwork
		case a.Is4() && !has4 || !a.Is4() && !has6:
			return classNoFamily
		case e == lastGood:
			return classLastGood
		case IsPublic(a):
			return classPublic
		default:
			return classOther
		}
	}
	ranked := slices.Clone(endpoints)
	slices.SortStableFunc(ranked, func(a, b netip.AddrPort) int { return cmp.Compare(class(a), class(b)) })
	return ranked
}

// families reports which IP versions a machine has addresses of; both if no address is
// known.
func families(links []Link) (has4, has6 bool) {
	for _, l := range links {
		for _, n := range l.Networks {
			has4 = has4 || n.Addr().Is4()
			has6 = has6 || n.Addr().Is6()
		}
	}
	return has4 || !has6, has6 || !has4
}

func inNetworks(links []Link, a netip.Addr) bool {
	for _, l := range links {
		for _, n := range l.Networks {
			if n.Contains(a) {
				return true
			}
		}
	}
	return false
}

// overhead is the number of bytes that WireGuard adds to a packet over IPv6, which has the
// longer header: 40 of IPv6, 8 of UDP, 32 of WireGuard (WireGuard paper, section 5.4.6).
const overhead = 40 + 8 + 32

const (
	// minMTU is the minimum MTU of IPv6 in bytes (RFC 8200, section 5).
	minMTU = 1280
	// defaultMTU fits into Ethernet's usual 1500 bytes.
	defaultMTU = 1500 - overhead
)

// PathMTU returns the largest MTU of the mesh link, in bytes, whose packets fit all links
// to the peers: the links in whose networks an endpoint is, and those with a default route.
func PathMTU(links []Link, specs []PeerSpec) int {
	least := 0
	use := func(l Link) {
		if l.MTU > 0 && (least == 0 || l.MTU < least) {
			least = l.MTU
		}
	}
	for _, l := range links {
		if l.Default || slices.ContainsFunc(specs, func(s PeerSpec) bool {
			return slices.ContainsFunc(s.Endpoints, func(e netip.AddrPort) bool { return inNetworks([]Link{l}, e.Addr()) })
		}) {
			use(l)
		}
	}
	if least == 0 {
		return defaultMTU
	}
	return max(least-overhead, minMTU)
}
