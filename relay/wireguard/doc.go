// Package wireguard has what a relay must know of the WireGuard protocol: the layouts of its
// messages, mac1 and cookies, and the responder's side of a handshake.
//
// The source of all names, sizes and times is the paper, https://www.wireguard.com/papers/wireguard.pdf,
// with its section in parentheses. Numbers are little endian.
package wireguard
