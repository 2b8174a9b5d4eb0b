package mesh_test

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
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
	service := []*mesh.Affiliate{{NodeID: "a", Hostname: "web-1", KubeSpan: mesh.KubeSpan{
		PublicKey: mesh.Key{1}, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820")}}}}
	kubernetes := []*mesh.Affiliate{{NodeID: "a", Nodename: "web-1.example.org", KubeSpan: mesh.KubeSpan{
		PublicKey: mesh.Key{1}, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:51820")}}}}

	for _, a := range mesh.Merge(service, kubernetes) {
		fmt.Println(a.NodeID, a.Hostname, a.Nodename, a.KubeSpan.Endpoints)
	}

	// Output:
	// a web-1 web-1.example.org [192.0.2.1:51820 [2001:db8::1]:51820]
}

// The network of a link stays local although a peer advertises a wider one.
func ExampleTerritory_Claims() {
	host := mesh.Host{Links: []mesh.Link{{Name: "eth0", Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}}}
	territory := mesh.NewTerritory(mesh.Identity{}, host, &schema.KubeSpan{}, nil)
	claims, refusals := territory.Claims(&mesh.Affiliate{KubeSpan: mesh.KubeSpan{
		AdditionalAddresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/22"), netip.MustParsePrefix("224.0.0.0/4")}}}, nil, netip.AddrPort{})
	for _, c := range claims {
		fmt.Println(c.Prefix, c.Rank)
	}
	for _, r := range refusals {
		fmt.Println(r.Prefix, r.Reason)
	}

	// Output:
	// 10.0.1.0/24 network
	// 10.0.2.0/23 network
	// 10.0.0.0/22 does not take 10.0.0.0/24, the network of the link eth0
	// 224.0.0.0/4 is multicast
}
