package mesh

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/schema"
)

// The classes of endpoints, in the order in which they are tried.
const (
	classSameNetwork = iota
	classLastGood
	classPublic
	classOther
	// classNoFamily is for those of an IP version that this machine does not have.
	classNoFamily
)

// shared is the address space that carriers use behind their NATs (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// Rank puts the endpoints of a peer into the order in which a machine with these
// links should try them: addresses of the peer in its own networks first, then the
// endpoint that worked last, then public addresses, then the rest. The one that
// worked is among them also where nobody lists it any more.
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
		case a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a):
			return classPublic
		default:
			return classOther
		}
	}
	ranked := slices.Clone(endpoints)
	slices.SortStableFunc(ranked, func(a, b netip.AddrPort) int { return cmp.Compare(class(a), class(b)) })
	return ranked
}

// families tells of which IP versions a machine has addresses; of both where
// nothing is known.
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

// Candidates are the endpoints of a peer that this machine may try: those that
// pass the filter, lie outside of the mesh and are not the machine's own.
func Candidates(id Identity, host Host, filters []schema.Filter, endpoints []netip.AddrPort) []netip.AddrPort {
	unfit := func(e netip.AddrPort) bool {
		return id.Subnet.Contains(e.Addr()) || slices.Contains(host.Addresses, e.Addr()) || !Passes(filters, e.Addr())
	}
	if !slices.ContainsFunc(endpoints, unfit) {
		return endpoints
	}
	return slices.DeleteFunc(slices.Clone(endpoints), unfit)
}

// The bytes that WireGuard adds to a packet over IPv6, the longer header: 40 of
// IPv6, 8 of UDP, 32 of WireGuard's own (WireGuard paper, section 5.4.6).
const overhead = 40 + 8 + 32

// The bounds of an automatic MTU: the least that IPv6 allows (RFC 8200, section
// 5), and what leaves room on a link of Ethernet's usual 1500 bytes.
const (
	minMTU     = 1280
	defaultMTU = 1500 - overhead
)

// PathMTU is the MTU that the links leave room for on which these endpoints can
// be reached: those whose networks they are in, and for the others those with a
// default route.
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
