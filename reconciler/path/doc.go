// Package path finds the paths on which two machines reach each other through the NATs and firewalls
// in front of them, beside whatever carries their packets meanwhile.
//
// Both send probes from the port of WireGuard. A probe that leaves makes a NAT let the other's in. A
// path is an endpoint of a peer from which a probe of this machine was answered.
//
// A machine looks for paths in rounds, which both ends begin at about the same time:
//
//	0 s         1 s                    6 s                              41 s
//	 | few hops  |   all hops           |   silence                      |  the next round
//	 +-----------+----------------------+--------------------------------+--
//
// The first probes go a few hops: through this machine's NAT, and not to the peer's. A router that
// masquerades and drops nothing takes a probe that comes before its own machine has sent one for its
// own, and gives that machine another port from then on. Silence has such routers forget.
//
// A Prober is a pure function of what it is told, with the time passed in. It is for one goroutine.
package path
