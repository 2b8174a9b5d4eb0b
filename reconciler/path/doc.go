// Package path finds the paths on which two machines reach each other through the NATs and firewalls
// in front of them, while a relay carries their packets.
//
// Both send probes from WireGuard's port. A probe that leaves makes a NAT let the other end's in. A path
// is an endpoint of a peer that has answered a fresh probe of this machine, from the address that the
// probe was sent to:
//
//	this machine                       peer
//	 | ping, new ID ------------------> |
//	 | <---- pong, that ID, seen at --- |  this machine has a path
//	 | <------------------ ping, new ID |  at once, where the peer has not used this endpoint so far
//	 | pong --------------------------> |  the peer has a path
//
// A peer behind a NAT with a port for each destination is learnt from its own pings, and pinged where they
// come from.
//
// # Rounds
//
// A machine looks for a path in rounds, at once on news of either end and then by the clock, so that both
// ends begin at the same time:
//
//	0 s         1 s                    6 s                             42 s
//	 | few hops  |   all hops           |   silence                      |  the next round
//	 +-----------+----------------------+--------------------------------+--
//	 ^ every 250 ms                     the silence doubles, from 35 s to 5.5 minutes
//
// The first pings go a few hops: through this machine's NAT, and not to the peer's. A Linux router that
// masquerades without a drop rule treats a ping that arrives before its own machine has sent one as a flow
// of its own. It then gives that machine another port, to which nobody sends. The silence lets such entries
// expire. Where both NATs give another port to each destination, endpoints of IPv4 are not tried.
//
// # A path
//
//	0 s        10 s        20 s        30 s        40 s
//	| pong      | ping      | ping      | ping      | no pong since: the relay carries packets, and a
//	+-----------+-----------+-----------+-----------+ round begins
//
// After news that may have ended it, such as a change of this machine's network, pings are 1 s apart. Of
// several paths, the end with the lower key uses the best, and marks its pings there; the other end
// follows.
//
// # Where the numbers come from
//
//	few hops: TTL 4, 1 s    passes a double NAT; measured with TTL 2 and a router between: 1.0 to 1.5 s
//	every 250 ms, for 5 s   news travels by discovery in less; a lost ping costs a quarter of a second
//	silence of 35 s         Linux forgets an unanswered flow after 30 s (nf_conntrack_udp_timeout)
//	ping every 10 s         KeepaliveTimeout (WireGuard paper, section 6.1), below these 30 s
//	3 missed                with 1 % of loss, a path that works is given up once in two weeks
//	pong within 5 s         RekeyTimeout (WireGuard paper, section 6.1)
//
// # Relays
//
// A RelayProber checks the blind relays by packets of their own kind, of 32 bytes: whether each that
// carries peers is there, still has the machine registered, and has kept its table of flows.
//
//	0 s      1 s     1.6 s   2.2 s   2.8 s
//	| answer | check | check | check | lost: its peers move to another
//	+--------+-------+-------+-------+--
//
// # What others can do
//
// A probe has 64 bytes, and so has its answer. Its MAC needs the private key of one of both ends. A copy of
// one of a peer's last 32 pings changes nothing, and is answered only where the peer is known to be. An
// older one, or one that was held back, is taken for the peer's: it brings one pong and up to 4 pings to
// where it comes from, and proves nothing. Each source is answered 16 times a second, and a peer has 4
// sources that it has not published. A peer takes 2 kB of memory with one endpoint, and 9 kB at most.
//
// A Prober depends only on what is passed to it, the time included. It is for one goroutine.
package path
