package payload_test

import (
	"fmt"
	"log"
	"net/netip"

	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/reconciler/mesh"
)

// A discovery service stores what it cannot read, under a node ID that it cannot forge.
func ExampleCipher() {
	cluster, err := payload.NewCipher([32]byte{1, 2, 3})
	if err != nil {
		log.Fatal(err)
	}
	sealed, err := cluster.SealAffiliate(mesh.Affiliate{NodeID: "node-1", Hostname: "alpha"}, payload.Stamp{})
	if err != nil {
		log.Fatal(err)
	}
	opened, _, err := cluster.OpenAffiliate("node-1", sealed)
	fmt.Println(opened.Hostname, err)

	_, _, err = cluster.OpenAffiliate("node-2", sealed)
	fmt.Println("as node-2:", err)

	stranger, err := payload.NewCipher([32]byte{3, 2, 1})
	if err != nil {
		log.Fatal(err)
	}
	_, _, err = stranger.OpenAffiliate("node-1", sealed)
	fmt.Println("with another secret:", err)
	// Output:
	// alpha <nil>
	// as node-2: is sealed for node ID "node-1"
	// with another secret: cannot be decrypted with the cluster secret
}

// Equal endpoints are equal when encrypted: a service can merge them without reading them.
func ExampleCipher_SealEndpoint() {
	cluster, err := payload.NewCipher([32]byte{1, 2, 3})
	if err != nil {
		log.Fatal(err)
	}
	endpoint := netip.MustParseAddrPort("192.0.2.1:51820")
	first, err := cluster.SealEndpoint(endpoint)
	if err != nil {
		log.Fatal(err)
	}
	second, err := cluster.SealEndpoint(endpoint)
	fmt.Println(string(first) == string(second), err)
	// Output: true <nil>
}
