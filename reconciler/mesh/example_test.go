package mesh_test

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/spanmesh/span/reconciler/mesh"
)

// The address of a machine follows from the cluster ID and the machine's MAC.
func ExampleAddress() {
	subnet := mesh.Subnet("yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE=")
	address, err := mesh.Address(subnet, net.HardwareAddr{0x8e, 0x13, 0x71, 0xaf, 0x7c, 0x94})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(subnet)
	fmt.Println(address)

	// Output:
	// fde2:b5ed:5b40:7602::/64
	// fde2:b5ed:5b40:7602:8c13:71ff:feaf:7c94/128
}

// Two registries know the same machine; both together have all of its endpoints.
func ExampleMerge() {
	service := []mesh.Affiliate{{NodeID: "a", Hostname: "web-1", KubeSpan: mesh.KubeSpan{
		PublicKey: mesh.Key{1}, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820")}}}}
	kubernetes := []mesh.Affiliate{{NodeID: "a", Nodename: "web-1.example.org", KubeSpan: mesh.KubeSpan{
		PublicKey: mesh.Key{1}, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:51820")}}}}

	for _, a := range mesh.Merge(service, kubernetes) {
		fmt.Println(a.NodeID, a.Hostname, a.Nodename, a.KubeSpan.Endpoints)
	}

	// Output:
	// a web-1 web-1.example.org [192.0.2.1:51820 [2001:db8::1]:51820]
}

// Two machines claim one address: it belongs to the one whose key sorts first.
func ExamplePeerSpecs() {
	machine := func(n byte, networks ...string) mesh.Affiliate {
		a := mesh.Affiliate{NodeID: fmt.Sprint(n), KubeSpan: mesh.KubeSpan{
			PublicKey: mesh.Key{n}, Address: netip.AddrFrom16([16]byte{0: 0xfd, 15: n})}}
		for _, network := range networks {
			a.KubeSpan.AdditionalAddresses = append(a.KubeSpan.AdditionalAddresses, netip.MustParsePrefix(network))
		}
		return a
	}
	specs, overlaps := mesh.PeerSpecs(mesh.Identity{NodeID: "self"},
		[]mesh.Affiliate{machine(1, "10.1.0.0/24"), machine(2, "10.1.0.0/24", "10.2.0.0/24")})
	for _, s := range specs {
		fmt.Println(s.NodeID, s.AllowedIPs)
	}
	fmt.Println(len(overlaps), "overlap from", overlaps[0].From)

	// Output:
	// 1 [10.1.0.0/24 fd00::1/128]
	// 2 [10.2.0.0/24 fd00::2/128]
	// 1 overlap from 10.1.0.0
}
