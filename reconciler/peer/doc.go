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
// A trial without an answer ends early for a relay with which both ends have registered meanwhile.
//
// A peer that is up, has answered an echo before, and dies at 0 while data is sent to it:
//
//	0          1s      4s      5s   5.5s  6s           9s
//	├──────────┼───────┼───────┼────┼─────┼────────────┤
//	last       sent    echo    2nd  3rd   ...          echoTimeout: next candidate
//	packet     │       │
//	           │       unansweredAfter: nothing received for 3s after something was sent
//	           seen by a reading, each second while bytes move
//
// The same at rest; only one of the two sides has to probe, since the echo and its answer are
// packets for both:
//
//	0                  7.5s to 11.5s       10s to 14s       up to 19s
//	├──────────────────┼───────────────────┼────────────────┤
//	last               initiator: echo     other: echo      echoTimeout: next candidate
//	packet             (idleAfterInitiator and idleAfterOther, and two readings, 2s apart)
//
// A peer that has answered no echo is judged by its WireGuard, which must answer data:
//
//	0                      35s      38s      41s          50s
//	├──────────────────────┼────────┼────────┼────────────┤
//	last packet            probe    2nd      3rd ...      probeTimeout: next candidate
//	                       │
//	                       probeAfter
//
// Whatever is received ends a series of probes. A series begins at once
//
//   - when this machine's network has changed, or the peer lists other endpoints,
//   - when another peer begins to claim what this one has (contestedTimeout),
//   - when the peer withdraws the address in use (withdrawnTimeout).
//
// A peer at whose endpoint another one makes a handshake is no longer there.
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
