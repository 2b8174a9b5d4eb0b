package lab

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NAT is the kind of address translation of a site's router.
type NAT int

// The kinds of NAT.
const (
	// Cone maps a source to one port for all destinations.
	Cone NAT = iota
	// Symmetric maps each connection to another port.
	Symmetric
	// Preserving maps a source to its own port for all destinations.
	Preserving
)

// Site is a network behind a router with NAT. It reaches the lab's network, but cannot be
// reached from there.
type Site struct {
	// Router is the node between both networks.
	Router *Node

	lab     *Lab
	segment *segment
}

// insideLink is the router's link to the site.
const insideLink = "eth1"

// AddSite makes a site without nodes.
func (l *Lab) AddSite(name string, nat NAT) (*Site, error) {
	router, err := l.AddNode(name)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	number := len(l.sites) + 1
	segment, err := newSegment(netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(number), 0}), 24))
	if err != nil {
		l.mu.Unlock()
		return nil, err
	}
	site := &Site{Router: router, lab: l, segment: segment}
	l.sites = append(l.sites, site)
	l.mu.Unlock()
	if err := router.attach(insideLink, segment, segment.next()); err != nil {
		return nil, err
	}
	if err := router.Write("/proc/sys/net/ipv4/ip_forward", "1"); err != nil {
		return nil, err
	}
	return site, router.Namespace(func(ns netns.NsHandle) error { return site.translate(ns, nat) })
}

// AddNode makes a node at the site, with the router as its gateway.
func (s *Site) AddNode(name string) (*Node, error) {
	return s.lab.add(name, s.segment, s.segment.network.Addr().Next())
}

// MappedPort is the port to which a cone NAT maps WireGuard's default port. It differs, so that
// a machine behind the NAT cannot know it.
const MappedPort = 40000

// wireguardPort is the port that machines listen on by default.
const wireguardPort = 51820

// translate sets up the NAT as home routers have it: a new connection from the site gets the
// router's outer address, and unsolicited packets from outside are dropped.
func (s *Site) translate(ns netns.NsHandle, nat NAT) error {
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4})
	post := conn.AddChain(&nftables.Chain{Table: table, Name: "post", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	if nat == Cone {
		conn.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: append(onLink(expr.MetaKeyOIFNAME),
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(wireguardPort)},
			&expr.Immediate{Register: 1, Data: s.Router.Address.AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(MappedPort)},
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
		)})
	}
	conn.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: append(onLink(expr.MetaKeyOIFNAME),
		&expr.Masq{Random: nat == Symmetric, FullyRandom: nat == Symmetric})})
	for name, hook := range map[string]*nftables.ChainHook{"forward": nftables.ChainHookForward, "input": nftables.ChainHookInput} {
		chain := conn.AddChain(&nftables.Chain{Table: table, Name: name, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityFilter})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(onLink(expr.MetaKeyIIFNAME),
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(known), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
			&expr.Verdict{Kind: expr.VerdictDrop},
		)})
	}
	return conn.Flush()
}

// known are the bits of established and related connections (nft's ct state).
const known = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED

// onLink matches packets on the link to the lab's network.
func onLink(key expr.MetaKey) []expr.Any {
	name := make([]byte, 16)
	copy(name, Link)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}}
}
