package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go4.org/netipx"
	"golang.org/x/sys/unix"
)

// Internet is a backbone that joins public networks of a lab, with IPv4 and IPv6. Each place on it has
// a network of its own, so that no two machines share a link.
//
// An Internet is for one goroutine.
type Internet struct {
	// Core is the router in the middle.
	Core *Node

	lab *Lab
	// links counts the public networks, homes the private ones.
	links, homes int
	// carriers are the routers that several homes share, by the kind of the homes.
	carriers map[Kind]*carrier
}

// Length is how many hops the backbone counts for: what has fewer left dies there, so that a datagram
// sent to open the sender's own NAT opens no other.
const Length = 16

// NewInternet makes a backbone without places.
func (l *Lab) NewInternet() (*Internet, error) {
	core, err := l.AddNode("core")
	if err != nil {
		return nil, err
	}
	in := &Internet{Core: core, lab: l, carriers: map[Kind]*carrier{}}
	return in, errors.Join(forwardPackets(core), core.Namespace(func(ns netns.NsHandle) error { return dropShortLived(int(ns)) }))
}

// forwardPackets makes a node a router.
func forwardPackets(n *Node) error {
	return errors.Join(n.Write("/proc/sys/net/ipv4/ip_forward", "1"), n.Write("/proc/sys/net/ipv6/conf/all/forwarding", "1"))
}

// dropShortLived makes a router as long as the backbone.
func dropShortLived(ns int) error {
	conn, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return err
	}
	for family, offset := range map[nftables.TableFamily]uint32{
		nftables.TableFamilyIPv4: 8, // time to live
		nftables.TableFamilyIPv6: 7, // hop limit
	} {
		table := conn.AddTable(&nftables.Table{Name: "backbone", Family: family})
		chain := conn.AddChain(&nftables.Chain{Table: table, Name: "forward", Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 1},
			&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: []byte{Length}},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	return conn.Flush()
}

// AddServer makes a public machine with two addresses of each family: it takes two to see how a NAT
// maps a port.
func (in *Internet) AddServer(name string) (*Server, error) {
	network, network6 := in.nextNetworks()
	s, err := in.connect(network)
	if err != nil {
		return nil, err
	}
	node, err := in.lab.add(name, s, gateway(network))
	if err != nil {
		return nil, err
	}
	server := &Server{Node: node, Second: s.next().Addr(), IPv6: gateway(network6).Next(), Second6: gateway(network6).Next().Next()}
	err = in.Core.addAddress(in.coreLink(), netip.PrefixFrom(gateway(network6), network6.Bits()))
	for _, a := range []netip.Addr{server.Second, server.IPv6, server.Second6} {
		bits := network.Bits()
		if a.Is6() {
			bits = network6.Bits()
		}
		err = errors.Join(err, node.addAddress(Link, netip.PrefixFrom(a, bits)))
	}
	return server, errors.Join(err, node.defaultRoute(gateway(network6)))
}

// Server is a public machine. Its first address is that of the node.
type Server struct {
	*Node

	Second, IPv6, Second6 netip.Addr
}

// publicBits is the length of the public networks of IPv4.
const publicBits = 29

// nextNetworks returns the public networks of the next place.
func (in *Internet) nextNetworks() (ipv4, ipv6 netip.Prefix) {
	in.links++
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(8 * in.links)}), publicBits),
		netip.MustParsePrefix("2001:db8:" + strconv.Itoa(in.links) + "::/64")
}

// coreLink returns the name of the core's link to the last place.
func (in *Internet) coreLink() string { return "eth" + strconv.Itoa(in.links) }

// connect makes a network on which the core has the first address.
func (in *Internet) connect(network netip.Prefix) (*segment, error) {
	s, err := in.lab.newNetwork(network)
	if err != nil {
		return nil, err
	}
	return s, in.Core.attach(in.coreLink(), s, s.next())
}

// gateway returns the first address of a network, which is its router's.
func gateway(network netip.Prefix) netip.Addr { return network.Addr().Next() }

// newNetwork makes a segment that is removed with the lab.
func (l *Lab) newNetwork(network netip.Prefix) (*segment, error) {
	s, err := newSegment(network)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.networks = append(l.networks, s)
	return s, nil
}

// routeTo adds a route of the core to a network behind a router.
func (in *Internet) routeTo(network netip.Prefix, router netip.Addr) error {
	return in.Core.Netlink(func(h *netlink.Handle) error {
		return h.RouteAdd(&netlink.Route{Dst: netipx.PrefixIPNet(network), Gw: router.AsSlice()})
	})
}

// ForgetMappings makes a router lose the mappings of its NAT, as a reboot does.
func (n *Node) ForgetMappings() error {
	return n.Namespace(func(ns netns.NsHandle) error {
		h, err := netlink.NewHandleAt(ns, unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer h.Close()
		if err := h.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
			return fmt.Errorf("forget the mappings of %s: %w", n.Name, err)
		}
		return nil
	})
}
