// Package peer follows the connection to each peer of a mesh: whether it is up, and which
// of the peer's endpoints to use.
//
// A peer has several endpoints, of which some may never answer. WireGuard has one at a time
// and reports neither failure nor success. What it does report are the time of the last
// handshake and two counters of bytes. Step derives the state of one peer from these:
//
//	          no endpoint ┌─────────┐
//	         ┌───────────▶│ unknown │ the first candidate is set as soon as there is one
//	         │            └────┬────┘
//	configured                 ▼
//	         │            ┌─────────┐ trial fails, another candidate   ┌──────┐
//	         └───────────▶│ unknown │◀───────────┐    all have failed  │      │
//	           endpoint   │ (trial) ├────────────┘   ┌───────────────▶ │ down │
//	           is set     └────┬────┴────────────────┘                 │      │◀──┐
//	                           │ handshake, or data of an              └──┬───┘   │ every candidate
//	                           ▼ older session                            │   └───┘ is tried again
//	                      ┌─────────┐◀────────────────────────────────────┘
//	                      │   up    │           handshake
//	                      └────┬────┘
//	                           │ probe not answered, or handshake expired:
//	                           ▼ the next candidate is on trial
//
// The trial of an endpoint, which is set at 0:
//
//	0          s           s+2s        s+5s                     15s
//	├──────────┼───────────┼───────────┼────────────────────────┤
//	set        │           │           WireGuard sends the      maxEndpointTrial:
//	           │           │           next initiation: to      given up although
//	           │           │           the next candidate       something was received,
//	           │           endpointTrial: given up if           or nothing sent
//	           │           nothing was received
//	           WireGuard sends an initiation: at once, or within
//	           initiationWithin (6s) if it had just sent another
//
// A peer that is up and falls silent at 0:
//
//	0                      35s      38s      41s          50s
//	├──────────────────────┼────────┼────────┼────────────┤
//	last packet            probe    2nd      3rd ...      probeTimeout: next candidate
//	                       │
//	                       probeAfter; at once, when this machine's network has changed, the
//	                       peer lists other endpoints, or it withdrew the address in use. In
//	                       the last case the answer is awaited for 2s (withdrawnTimeout).
//
// Without probes a handshake shows for 275s (handshakeExpiry) that the peer is up, as in
// KubeSpan on Talos. WireGuard changes an endpoint itself when an authentic packet
// comes from elsewhere; while the peer is up that is never reverted.
//
// A new peer: of the two machines, the one whose key sorts first is the initiator. The other
// sets no keepalive for 1s (initiationDelay), so that their initiations do not cross.
//
//	0                 1s
//	├─────────────────┼──────────
//	initiator: initiation, at once
//	other:            keepalive: initiation, if there was no handshake
//
// timers.go has every constant with its source. Tracker owns the connections of a mesh:
// candidates, endpoint in use, endpoints that failed, last good endpoint and relay of each
// peer. Step, NextCheck and the methods of Connections are pure functions of their
// arguments and the time that is passed in.
package peer
