package netlinkapply_test

import (
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/spanmesh/span/reconciler/mesh"
)

func TestHostHasReachableAddresses(t *testing.T) {
	k := open(t)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "up1"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	inner := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "docker0"}}
	if err := netlink.LinkAdd(inner); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(inner) })
	for link, address := range map[netlink.Link]string{veth: "192.0.2.7/24", inner: "172.17.0.1/16"} {
		if err := netlink.AddrAdd(link, mustAddr(address)); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.AddrAdd(veth, mustAddr("192.0.2.8/24")); err != nil {
		t.Fatal(err)
	}
	host, err := k.Host("kubespan", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")}; !cmp.Equal(want, host.Addresses, cmpopts.EquateComparable(netip.Addr{})) {
		t.Errorf("addresses are %v, want %v", host.Addresses, want)
	}
	links := []mesh.Link{{Name: "up0", MTU: 1500, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.0/24")}}}
	if diff := cmp.Diff(links, host.Links, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	if want := []mesh.OfflineLink{{Name: "up0", Why: mesh.NoCarrier}, {Name: "up1", Why: mesh.LinkDown}}; !slices.Equal(host.Offline, want) {
		t.Errorf("offline is %v, want %v", host.Offline, want)
	}
	other, err := netlink.LinkByName("up1")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(other); err != nil {
		t.Fatal(err)
	}
	if host, err = k.Host("kubespan", nil); err != nil || len(host.Offline) > 0 {
		t.Errorf("with a carrier, offline is %v (%v)", host.Offline, err)
	}
	if host.MAC != nil {
		t.Errorf("a namespace without a network card has the MAC %v", host.MAC)
	}
	if err := netlink.AddrDel(veth, mustAddr("192.0.2.7/24")); err != nil { // with it goes the other
		t.Fatal(err)
	}
	if host, err = k.Host("kubespan", nil); err != nil || !slices.Equal(host.Offline, []mesh.OfflineLink{{Name: "up0", Why: mesh.NoAddress}, {Name: "up1", Why: mesh.NoAddress}}) {
		t.Errorf("without an address, offline is %v (%v)", host.Offline, err)
	}
}

// TestHostOmitsLinksOverTheMesh has a VXLAN over the mesh's link. It also has a veth whose other
// end has the index of the mesh's link, in another namespace.
func TestHostOmitsLinksOverTheMesh(t *testing.T) {
	k := open(t)
	outside := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "far0"}
	if err := netlink.LinkAdd(outside); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(outside) })
	end, err := netlink.LinkByName("far0")
	if err != nil {
		t.Fatal(err)
	}
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
	if err := netlink.LinkSetNsFd(end, int(far)); err != nil {
		t.Fatal(err)
	}
	inMesh := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "kubespan", Index: end.Attrs().Index}, PeerName: "mesh1"}
	if err := netlink.LinkAdd(inMesh); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(inMesh) })
	overlay := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "flannel.1"}, VxlanId: 1, VtepDevIndex: end.Attrs().Index, Port: 8472}
	if err := netlink.LinkAdd(overlay); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(overlay) })
	for link, address := range map[netlink.Link]string{outside: "192.0.2.7/24", overlay: "10.42.0.0/32"} {
		if err := errors.Join(netlink.AddrAdd(link, mustAddr(address)), netlink.LinkSetUp(link)); err != nil {
			t.Fatal(err)
		}
	}
	host, err := k.Host("kubespan", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []netip.Addr{netip.MustParseAddr("192.0.2.7")}; !slices.Equal(want, host.Addresses) {
		t.Errorf("addresses are %v, want %v", host.Addresses, want)
	}
}
