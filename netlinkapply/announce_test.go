package netlinkapply_test

import (
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// elsewhere makes a network namespace and returns it.
func elsewhere(t *testing.T) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	far, err := netns.New()
	if err == nil {
		err = netns.Set(here)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(far.Close(), here.Close()) })
	return far
}

// TestAnnouncedLinks has a machine with an uplink and one more link of each kind, which sorts
// before the uplink.
func TestAnnouncedLinks(t *testing.T) {
	k := open(t)
	wayOut(t)
	far := elsewhere(t)
	veth := func(name string) netlink.Link {
		return &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "peer0", PeerNamespace: netlink.NsFd(int(far))}
	}
	attrs := netlink.LinkAttrs{Name: "a0"}
	local, remote := netip.MustParseAddr("192.0.2.7").AsSlice(), netip.MustParseAddr("192.0.2.9").AsSlice()
	for _, c := range []struct {
		name    string
		link    netlink.Link
		address string
		down    bool
		filters []string
		want    bool
	}{
		{"a veth of this namespace", &netlink.Veth{LinkAttrs: attrs, PeerName: "a1"}, "198.51.100.1/24", false, nil, true},
		{"a link that is down", &netlink.Veth{LinkAttrs: attrs, PeerName: "a1"}, "198.51.100.1/24", true, nil, false},
		{"a link that is down and named", &netlink.Veth{LinkAttrs: attrs, PeerName: "a1"}, "198.51.100.1/24", true, []string{"a0"}, false},
		{"an excluded link", &netlink.Veth{LinkAttrs: attrs, PeerName: "a1"}, "198.51.100.1/24", false, []string{"!a*"}, false},
		{"a link that is excluded and named", &netlink.Veth{LinkAttrs: attrs, PeerName: "a1"}, "198.51.100.1/24", false, []string{"!*", "a?"}, true},
		{"a container's way to the network", veth("a0"), "198.51.100.1/24", false, nil, true},
		{"a pod's other end", veth("a0"), "198.51.100.1/32", false, nil, false},
		{"a pod's other end that is named", veth("a0"), "198.51.100.1/32", false, []string{"a0"}, true},
		{"a bridge without ports", &netlink.Bridge{LinkAttrs: attrs}, "198.51.100.1/24", false, nil, false},
		{"a VXLAN over another link", &netlink.Vxlan{LinkAttrs: attrs, VxlanId: 7, Port: 4789, SrcAddr: local}, "198.51.100.1/24", false, nil, false},
		{"a named VXLAN", &netlink.Vxlan{LinkAttrs: attrs, VxlanId: 7, Port: 4789, SrcAddr: local}, "198.51.100.1/24", false, []string{"a0"}, true},
		{"a Geneve", &netlink.Geneve{LinkAttrs: attrs, ID: 7, Remote: remote}, "198.51.100.1/24", false, nil, false},
		{"a GRE", &netlink.Gretun{LinkAttrs: attrs, Local: local, Remote: remote}, "198.51.100.1/24", false, nil, false},
		{"a GRE of Ethernet", &netlink.Gretap{LinkAttrs: attrs, Local: local, Remote: remote}, "198.51.100.1/24", false, nil, false},
		{"an IPIP", &netlink.Iptun{LinkAttrs: attrs, Local: local, Remote: remote}, "198.51.100.1/24", false, nil, false},
		{"a SIT", &netlink.Sittun{LinkAttrs: attrs, Local: local, Remote: remote}, "2001:db8:9::1/64", false, nil, false},
		{"a VTI", &netlink.Vti{LinkAttrs: attrs, Local: local, Remote: remote}, "198.51.100.1/24", false, nil, false},
		{"another WireGuard", &netlink.Wireguard{LinkAttrs: attrs}, "198.51.100.1/24", false, nil, false},
		{"the addresses of services", &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "kube-ipvs0"}}, "198.51.100.1/32", false, nil, false},
		{"a dummy", &netlink.Dummy{LinkAttrs: attrs}, "198.51.100.1/32", false, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := netlink.LinkAdd(c.link); errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENODEV) {
				t.Skipf("this kernel has no link of kind %s", c.link.Type())
			} else if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = netlink.LinkDel(c.link) })
			address := mustAddr(c.address)
			address.Flags = unix.IFA_F_NODAD
			if err := netlink.AddrAdd(c.link, address); err != nil {
				t.Fatal(err)
			}
			if !c.down {
				if err := netlink.LinkSetUp(c.link); err != nil {
					t.Fatal(err)
				}
			}
			host, err := k.Host("kubespan", linkFilters(t, c.filters))
			if err != nil {
				t.Fatal(err)
			}
			extra := netip.MustParsePrefix(c.address).Addr()
			if slices.Contains(host.Addresses, extra) != c.want {
				t.Errorf("addresses are %v", host.Addresses)
			}
			if slices.Contains(c.filters, "!*") {
				return
			}
			if first := netip.MustParseAddr("192.0.2.7"); host.Addresses[0] != first || host.OnDefault != 2 {
				t.Errorf("addresses are %v, %d on default routes, want %v first", host.Addresses, host.OnDefault, first)
			}
		})
	}
}

func linkFilters(t *testing.T, texts []string) mesh.LinkChoice {
	t.Helper()
	filters := make([]schema.LinkFilter, len(texts))
	for i, text := range texts {
		if err := filters[i].UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return (&schema.Filters{Interfaces: filters}).ChoosesLink
}

// TestBridgeOverAVeth has the network of a container that systemd-nspawn or LXC has made: the
// only way out is a bridge over a veth.
func TestBridgeOverAVeth(t *testing.T) {
	k := open(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(bridge) })
	host0 := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "host0", MasterIndex: bridge.Index}, PeerName: "ve-host",
		PeerNamespace: netlink.NsFd(int(elsewhere(t)))}
	if err := errors.Join(netlink.LinkAdd(host0), netlink.LinkSetUp(host0), netlink.LinkSetUp(bridge),
		netlink.AddrAdd(bridge, mustAddr("192.0.2.7/24"))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(host0) })
	if host, err := k.Host("kubespan", nil); err != nil || len(host.Addresses) != 0 {
		t.Errorf("without a default route, addresses are %v, %v", host.Addresses, err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: bridge.Index, Gw: netip.MustParseAddr("192.0.2.1").AsSlice()}); err != nil {
		t.Fatal(err)
	}
	want := []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	if host, err := k.Host("kubespan", nil); err != nil || !slices.Equal(host.Addresses, want) {
		t.Errorf("addresses are %v, %v, want %v", host.Addresses, err, want)
	}
}

// TestVRFSlave has a link that belongs to a VRF.
func TestVRFSlave(t *testing.T) {
	k := open(t)
	vrf := &netlink.Vrf{LinkAttrs: netlink.LinkAttrs{Name: "vrf0"}, Table: 700}
	if err := netlink.LinkAdd(vrf); errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("this kernel has no VRF")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(vrf) })
	slave := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "up1"}
	if err := errors.Join(netlink.LinkAdd(slave), netlink.LinkSetMaster(slave, vrf), netlink.LinkSetUp(vrf), netlink.LinkSetUp(slave),
		netlink.AddrAdd(slave, mustAddr("192.0.2.7/24"))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(slave) })
	for filter, want := range map[string]int{"": 0, "up*": 1} {
		var filters []string
		if filter != "" {
			filters = []string{filter}
		}
		if host, err := k.Host("kubespan", linkFilters(t, filters)); err != nil || len(host.Addresses) != want {
			t.Errorf("with the filter %q, addresses are %v, %v", filter, host.Addresses, err)
		}
	}
}
