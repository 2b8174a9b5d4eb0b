// Package sharedport sends and receives UDP on a port that another socket of the machine has: that of
// WireGuard, the kernel's or a process'.
//
// It takes raw sockets, which see what the machine's firewall lets in, and of that by a filter in the
// kernel only the messages of STUN (RFC 8489) and the probes of paths to the port. The other socket gets
// its copies too, and WireGuard drops them, since they are no messages of its own.
//
// A process needs CAP_NET_RAW for them, and CAP_NET_ADMIN for the firewall mark. The mark has their
// packets go where those of WireGuard go, past the tunnel.
package sharedport
