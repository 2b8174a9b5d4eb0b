package state_test

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/state"
)

// The desired state has another MTU, and one allowed IP less for a peer.
func ExampleDiff() {
	peer := state.Peer{
		PublicKey:  mesh.Key{1},
		Label:      "node-2",
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("10.1.0.0/24")},
	}
	live := state.State{
		Link:  state.Link{Name: "kubespan", MTU: 1420, ListenPort: 51820, Up: true},
		Peers: []state.Peer{peer},
	}
	desired := live
	desired.Link.MTU = 1390
	peer.AllowedIPs = peer.AllowedIPs[:1]
	desired.Peers = []state.Peer{peer}

	plan := state.Diff(desired, live)
	if err := planprint.Write(os.Stdout, plan); err != nil {
		fmt.Println(err)
	}
	for _, interruption := range plan.Impact() {
		fmt.Println(interruption.Cause, interruption.Networks)
	}
	// Output:
	// ~ link kubespan: mtu 1420 -> 1390
	// ~ peer AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= (node-2): allowedIPs 10.0.0.2/32 10.1.0.0/24 -> 10.0.0.2/32
	// allowed IPs removed [10.1.0.0/24]
}
