package sharedport

import (
	"encoding/binary"
	"net/netip"
)

const (
	// udpHeader is the size of UDP's header in bytes (RFC 768), and protocolUDP its number in IP.
	udpHeader   = 8
	protocolUDP = 17
	// minHeader4 is the size of the least header of IPv4 in bytes (RFC 791).
	minHeader4 = 20
	// fragmented are the bits of "more fragments" and the offset in the header of IPv4.
	fragmented = 0x3fff
)

// parse4 returns what a raw socket of IPv4 received: the datagram's sender and its payload, a part of
// packet. ok is false for what is no whole datagram to the port.
func parse4(packet []byte, port uint16) (from netip.AddrPort, payload []byte, ok bool) {
	if len(packet) < minHeader4 || packet[0]>>4 != 4 || packet[9] != protocolUDP || binary.BigEndian.Uint16(packet[6:])&fragmented != 0 {
		return from, nil, false
	}
	header := int(packet[0]&15) * 4
	if header < minHeader4 || header > len(packet) {
		return from, nil, false
	}
	return parseUDP(netip.AddrFrom4([4]byte(packet[12:16])), packet[header:], port)
}

// parseUDP is parse4 for what follows the header of IP.
func parseUDP(source netip.Addr, datagram []byte, port uint16) (from netip.AddrPort, payload []byte, ok bool) {
	if len(datagram) < udpHeader || binary.BigEndian.Uint16(datagram[2:]) != port {
		return from, nil, false
	}
	length := int(binary.BigEndian.Uint16(datagram[4:]))
	if length < udpHeader || length > len(datagram) {
		return from, nil, false
	}
	return netip.AddrPortFrom(source, binary.BigEndian.Uint16(datagram)), datagram[udpHeader:length], true
}

// datagram returns UDP's header and the payload, without a checksum.
func datagram(from, to uint16, payload []byte) []byte {
	d := make([]byte, udpHeader, udpHeader+len(payload))
	binary.BigEndian.PutUint16(d, from)
	binary.BigEndian.PutUint16(d[2:], to)
	binary.BigEndian.PutUint16(d[4:], uint16(udpHeader+len(payload)))
	return append(d, payload...)
}

// sign4 writes the checksum of a datagram between two addresses of IPv4. That of IPv6 is the kernel's.
func sign4(d []byte, from, to netip.Addr) {
	source, destination := from.As4(), to.As4()
	sum := add(d, add(destination[:], add(source[:], protocolUDP+uint32(len(d)))))
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	if sum = ^sum & 0xffff; sum == 0 {
		sum = 0xffff // zero stands for none
	}
	binary.BigEndian.PutUint16(d[6:], uint16(sum))
}

// add adds the 16-bit words of b to sum.
func add(b []byte, sum uint32) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}
