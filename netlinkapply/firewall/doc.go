// Package firewall reads and changes spanctl's nftables table: its rules, and the sets of
// networks that are routed into the tunnel.
//
// The expressions of each firewall operation are in expr.go. A rule has its operation in its
// comment, where nft(8) shows it; Tables compares the rule's expressions with those of the
// operation. It reads the tables anew when the kernel's generation of nftables has changed
// (socket.go), and else only what the rules have counted.
//
// The functions work on the network namespace of the process and may be called concurrently.
package firewall
