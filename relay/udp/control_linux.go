package udp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlSize is room for the control messages of a datagram, in bytes.
const controlSize = 128

// setOptions makes the kernel tell the address that each datagram was sent to, and give many packets
// of a source as one. It reports whether many can be sent as one.
func setOptions(conn *net.UDPConn) (segments bool, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, err
	}
	var failure error
	err = raw.Control(func(fd uintptr) {
		s := int(fd)
		domain, err := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_DOMAIN)
		switch {
		case err != nil:
			failure = err
		case domain == unix.AF_INET6:
			failure = unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		default:
			failure = unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
		// Linux before 5.0 gives each packet alone.
		_ = unix.SetsockoptInt(s, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		_, err = unix.GetsockoptInt(s, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		segments = err == nil
		// As root, more than the limit of other users.
		_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize)
		_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferSize)
	})
	return segments, errors.Join(err, failure)
}

// parseControl returns the address that a datagram was sent to, and the size of its packets; 0 for
// one packet.
func parseControl(control []byte) (to netip.Addr, size int) {
	for len(control) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return to, size
		}
		control = rest
		switch {
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			to = netip.AddrFrom4([4]byte(data[4:8]))
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			to = netip.AddrFrom16([16]byte(data[:16])).Unmap()
		case header.Level == unix.IPPROTO_UDP && header.Type == unix.UDP_GRO && len(data) >= 2:
			// An int (udp(7)), of which kernels before 6.x fill the first two bytes alone.
			size = int(binary.NativeEndian.Uint16(data))
		}
	}
	return to, size
}

// appendControl appends the control messages with which a datagram leaves from an address, unless
// that is not valid, in packets of a size, unless that is 0.
func appendControl(control []byte, from netip.Addr, size int) []byte {
	switch {
	case from.Is4():
		info := unix.Inet4Pktinfo{Spec_dst: from.As4()} // the link is not given (ip(7)): routes may lead back by another
		control = appendMessage(control, unix.IPPROTO_IP, unix.IP_PKTINFO, (*[unix.SizeofInet4Pktinfo]byte)(unsafe.Pointer(&info))[:])
	case from.Is6():
		info := unix.Inet6Pktinfo{Addr: from.As16()}
		control = appendMessage(control, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, (*[unix.SizeofInet6Pktinfo]byte)(unsafe.Pointer(&info))[:])
	}
	if size > 0 {
		control = appendMessage(control, unix.IPPROTO_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, uint16(size)))
	}
	return control
}

func appendMessage(control []byte, level, kind int32, data []byte) []byte {
	at := len(control)
	control = append(control, make([]byte, unix.CmsgSpace(len(data)))...)
	header := (*unix.Cmsghdr)(unsafe.Pointer(&control[at]))
	header.Level, header.Type = level, kind
	header.SetLen(unix.CmsgLen(len(data)))
	copy(control[at+unix.CmsgLen(0):], data)
	return control
}

// failsInParts reports whether the packets of a datagram that failed may be sent one by one, and
// whether the link of its route can send no such datagram at all (udp(7): EIO).
func failsInParts(err error) (alone, always bool) {
	always = errors.Is(err, unix.EIO)
	return always || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EMSGSIZE), always
}
