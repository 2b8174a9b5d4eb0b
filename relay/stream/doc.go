// Package stream carries WireGuard's packets over a connection, for machines whose network lets no
// UDP through. Both ends are here.
//
// A machine asks by HTTP/1.1, with or without TLS and through proxies:
//
//	GET /relay HTTP/1.1
//	Connection: Upgrade
//	Upgrade: spanctl-relay
//
// After the answer 101 both ends send frames: a length of two bytes, big endian, and a packet. A frame of length 0 is no
// packet: it is sent when there was nothing else for a time, so that both ends know that the other is there.
//
// Packets may get lost, as with UDP: a Conn never waits to send. What does not fit in its queue is
// dropped, so that WireGuard's own connections slow down.
//
// A Conn is safe for concurrent use; one goroutine at a time may receive.
package stream
