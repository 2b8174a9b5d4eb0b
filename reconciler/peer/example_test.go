package peer_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/peer"
)

// A new peer has two endpoints. The first never answers, the second does.
func ExampleStep() {
	first, second := netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("198.51.100.1:51820")
	spec := peer.Spec{Endpoints: []netip.AddrPort{first, second}, Initiator: true}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

	var status peer.Status
	var seen peer.Observed // what WireGuard shows
	step := func(seconds int) {
		var do peer.Action
		status, do = peer.Step(start.Add(time.Duration(seconds)*time.Second), spec, status, seen)
		fmt.Printf("%2d s: %s", seconds, status.State)
		if do.Endpoint.IsValid() {
			fmt.Printf(", set %s", do.Endpoint)
			seen.Present, seen.Endpoint = true, do.Endpoint
		}
		if do.Probe {
			fmt.Print(", probe")
		}
		fmt.Println()
	}

	step(0)
	step(1)
	seen.TransmitBytes = 148 // a handshake initiation went to the first endpoint
	step(2)
	step(4)
	seen.TransmitBytes += 148
	step(5)
	seen.ReceiveBytes, seen.LastHandshake = 92, start.Add(6*time.Second) // the second one answers
	step(6)
	step(41) // and is silent for 35 seconds

	// Output:
	//  0 s: unknown, set 192.0.2.1:51820
	//  1 s: unknown
	//  2 s: unknown
	//  4 s: unknown, set 198.51.100.1:51820
	//  5 s: unknown
	//  6 s: up
	// 41 s: up, probe
}
