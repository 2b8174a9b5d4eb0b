// Package wgconf writes one end of a WireGuard tunnel as other programs read it: wg(8), wg-quick(8),
// NetworkManager, RouterOS, and phones, which read a QR code.
//
// Its functions are pure. What they return has secrets: it is for a terminal, or for a file that only
// its owner can read.
package wgconf
