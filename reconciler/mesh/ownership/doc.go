// Package ownership decides which peer owns a prefix that several peers claim.
//
// WireGuard and nftables pick the longest prefix, so different prefixes never conflict: all
// stay, each with its own owner. Only equal prefixes compete.
//
//	10.0.0.0/16   node-1                         ─┐
//	10.0.0.0/24   node-2, node-4 ──▶ node-2       ├─ all three are allowed IPs
//	10.0.0.3/32   node-3                         ─┘
//
// Claims on one prefix are compared by these rules in turn. The first that differs decides:
//
//	static      a static peer of this machine's config
//	rank        a mesh address, before an own address, before a network
//	state       a peer that is up, before one that is unknown, before one that is down
//	present     the present owner, so that nothing moves without a reason
//	first seen  the peer that was first seen latest: the other may be its predecessor
//	key         the key that sorts first
//
// A claim may be what is left of a wider network, where a part of it stays local. Such a
// piece has the length of that network, and the longer one is first before all rules: the
// pieces together give every address to the longest network that was claimed.
//
//	10.0.0.0/16 without 10.0.0.0/24  ──▶  10.0.1.0/24 10.0.2.0/23 10.0.4.0/22 … (length 16)
//
// A Table keeps claims, states and owners. Changes collect until Resolve, which looks at the
// prefixes that they touch. Owners are a pure function of claims, states and the owners
// before: the order of changes between two calls of Resolve does not matter.
package ownership
