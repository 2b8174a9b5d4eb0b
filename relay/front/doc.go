// Package front serves a relay: it carries packets between a relay.Router, UDP sockets and streams.
//
//	UDP socket ─▶ goroutine ─┐            ┌─▶ UDP sockets, many packets a call
//	UDP socket ─▶ goroutine ─┼▶ Router ──▶┤
//	stream ────▶ goroutine ──┘ (one at    └─▶ streams' queues
//	                            a time)
//
// Each goroutine receives a batch, has the Router to itself while it routes the batch, and then sends.
//
// # Restarts
//
// At its end, a Front stops receiving, saves the Router's table to a file and closes its sockets. The
// next Front goes on from there: the sessions of members with the relay, and their flows, are as they
// were. What comes in between waits where another holds the UDP sockets, such as systemd, and is lost
// otherwise. Streams end; their other ends connect anew.
//
// A Front that is killed has saved who may register, within a second of each Join. Where members are
// is found anew: their next packet is answered by a nudge, and their handshake shows it.
//
// A Front is safe for concurrent use.
package front
