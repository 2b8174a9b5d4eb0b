package netlinkapply_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/state"
)

// routeTo returns the link of the route to an address for packets with a mark.
func routeTo(t *testing.T, to netip.Addr, mark uint32) (string, error) {
	t.Helper()
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{Mark: mark})
	if err != nil {
		return "", err
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		t.Fatal(err)
	}
	return link.Attrs().Name, nil
}

// wayOut makes a link with addresses of both families and default routes, as of a machine with
// a network.
func wayOut(t *testing.T) *netlink.Veth {
	t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "far0"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	for _, address := range []string{"192.0.2.7/24", "2001:db8:1::7/64"} {
		a := mustAddr(address)
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(veth, a); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"eth0", "far0"} {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, gateway := range []string{"192.0.2.1", "2001:db8:1::1"} {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: veth.Index, Gw: netip.MustParseAddr(gateway).AsSlice()}); err != nil {
			t.Fatal(err)
		}
	}
	return veth
}

// TestMissingLinkRefusesPackets deletes the mesh's link beside a default route.
func TestMissingLinkRefusesPackets(t *testing.T) {
	k := open(t)
	wayOut(t)
	in := inputs(t, 1)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, state.Build(in))
	marked := scopeOf(t).RoutedMark
	peers := []netip.Addr{netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("2001:db8::1"), in.Identity.Subnet.Addr().Next()}
	for _, peer := range peers {
		if link, err := routeTo(t, peer, marked); link != "kubespan" || err != nil {
			t.Errorf("packets to %s leave by %q, %v", peer, link, err)
		}
	}
	live, err := k.Observe(scopeOf(t))
	if err != nil {
		t.Fatal(err)
	}
	gone := k.Apply(context.WithoutCancel(t.Context()), scopeOf(t), state.Plan{state.LinkChange{Old: live.Link}})
	if gone.Err != nil {
		t.Fatal(gone.Err)
	}
	for _, peer := range peers {
		if link, err := routeTo(t, peer, marked); !errors.Is(err, unix.EHOSTUNREACH) {
			t.Errorf("without the link, packets to %s leave by %q, %v", peer, link, err)
		}
	}
	reach(t, k, state.Build(in))
	reach(t, k, state.State{})
	if link, err := routeTo(t, peers[0], marked); link != "eth0" {
		t.Errorf("without a mesh, packets leave by %q, %v", link, err)
	}
}

// TestSubnetHasItsOwnRule has rules of other programs that lead all packets elsewhere.
func TestSubnetHasItsOwnRule(t *testing.T) {
	k := open(t)
	eth0 := wayOut(t)
	in := inputs(t, 1)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	peer, own := in.Identity.Subnet.Addr().Next(), in.Identity.Address.Addr()
	reach(t, k, state.Build(in))

	t.Run("the source is the mesh address", func(t *testing.T) {
		routes, err := netlink.RouteGet(peer.AsSlice())
		if err != nil || !slices.Equal(routes[0].Src.To16(), own.AsSlice()) {
			t.Errorf("routes are %v, %v", routes, err)
		}
	})
	t.Run("a rule behind ours", func(t *testing.T) {
		other := netlink.NewRule()
		other.Family, other.Priority, other.Table = unix.AF_INET6, 32600, 999
		route := &netlink.Route{LinkIndex: eth0.Index, Table: 999, Dst: netipx.PrefixIPNet(state.IPv6.Everything())}
		if err := errors.Join(netlink.RouteAdd(route), netlink.RuleAdd(other)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = errors.Join(netlink.RuleDel(other), netlink.RouteDel(route)) })
		if link, err := routeTo(t, peer, 0); link != "kubespan" {
			t.Errorf("packets to a peer leave by %q, %v", link, err)
		}
	})
	t.Run("the rule of the table local is behind ours", func(t *testing.T) {
		local := func(priority int) *netlink.Rule {
			r := netlink.NewRule()
			r.Family, r.Priority, r.Table = unix.AF_INET6, priority, unix.RT_TABLE_LOCAL
			return r
		}
		if err := errors.Join(netlink.RuleAdd(local(32765)), netlink.RuleDel(local(0))); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = errors.Join(netlink.RuleAdd(local(0)), netlink.RuleDel(local(32765))) })
		routes, err := netlink.RouteGet(own.AsSlice())
		if err != nil {
			t.Fatal(err)
		}
		if routes[0].Type != unix.RTN_LOCAL {
			t.Errorf("the route to this machine's own address is %v", routes)
		}
	})
}
