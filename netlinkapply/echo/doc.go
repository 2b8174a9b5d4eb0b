// Package echo sends ICMPv6 echo requests (RFC 4443, section 4.1) over a link and reads the
// answers, without a goroutine:
//
//	Send     writes a request for each peer and notes when
//	Replies  reads what has arrived since, and matches it; it does not wait
//
// The kernel notes when each answer arrives (socket(7), SO_TIMESTAMPNS), so that the
// round-trip time does not depend on when Replies is called.
//
// The socket is a datagram socket of ICMP (icmp(7), ping_group_range), and else a raw one, for
// which a process needs CAP_NET_RAW. Where neither can be had, Send returns ErrNotPermitted.
//
// A Socket is for one goroutine.
package echo
