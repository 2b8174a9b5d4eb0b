// Package wgdevice keeps a WireGuard device from one reading to the next, so that reading it again
// makes no garbage.
//
// A reading begins with Begin and ends with End. Between them, Peer is called for each peer, then
// Endpoint and Networks with the bytes that the reader has received. Bytes that are those of the
// last reading are not parsed again.
//
//	Begin ── Peer ── Endpoint, Networks ── Peer ── ... ── End
//
// The readers are in package userspace, of the WireGuard process's text, and in genlread.go of
// netlinkapply, of the kernel's messages.
package wgdevice
