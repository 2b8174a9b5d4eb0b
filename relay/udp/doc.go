// Package udp is a relay's UDP socket: many packets a system call, and where the kernel can, many a
// datagram of it (UDP_GRO, UDP_SEGMENT: udp(7)).
//
//	kernel ─▶ Receiver.Receive ─▶ All ─▶ … ─▶ Sender.Queue ─▶ Flush ─▶ kernel
//
// A socket of all addresses answers from the address that was asked: a NAT lets no other in. The
// receiver reports it with each packet, and whoever sends gives it back.
//
// A Conn is safe for concurrent use. A Receiver and a Sender are each for one goroutine; a Conn may
// have several.
package udp
