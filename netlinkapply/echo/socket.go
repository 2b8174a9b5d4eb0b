package echo

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// ErrNotPermitted is the error of a process that may open no ICMP socket.
var ErrNotPermitted = errors.New("not permitted to send ICMPv6 echoes: CAP_NET_RAW is missing, and the group is not in net.ipv4.ping_group_range")

// receiveBuffer is the size of the receive buffer in bytes, for the answers of a large mesh
// between two readings.
const receiveBuffer = 1 << 20

// open opens the socket for a link, if it is not open.
func (s *Socket) open(link string, mark uint32) error {
	if s.isOpen && s.link == link && s.mark == mark {
		return nil
	}
	s.Close()
	fd, raw, err := socket()
	if err != nil {
		return err
	}
	return s.adopt(fd, raw, link, mark)
}

// adopt makes an ICMP socket the one that is used.
func (s *Socket) adopt(fd int, raw bool, link string, mark uint32) error {
	s.fd, s.raw, s.isOpen = fd, raw, true
	s.link, s.mark = link, mark
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails
	s.id = binary.BigEndian.Uint16(random[:])
	copy(s.token[:], random[2:])
	if err := s.setUp(); err != nil {
		s.Close()
		return fmt.Errorf("set up the socket for echoes over %s: %w", link, err)
	}
	return nil
}

// socket returns a datagram socket of ICMPv6, or else a raw one.
func socket() (fd int, raw bool, err error) {
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|flags, unix.IPPROTO_ICMPV6); err == nil {
		return fd, false, nil
	}
	if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|flags, unix.IPPROTO_ICMPV6); err == nil {
		return fd, true, nil
	}
	return -1, false, fmt.Errorf("%w (%w)", ErrNotPermitted, err)
}

func (s *Socket) setUp() error {
	err := errors.Join(
		unix.BindToDevice(s.fd, s.link),
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_MARK, int(s.mark)),
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	// Without the large buffer, answers may be lost: the round-trip time is not known then.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	if s.raw {
		err = errors.Join(err, s.filter())
	}
	return err
}

// filter makes the kernel drop what a raw socket receives besides our answers. A datagram
// socket receives nothing else.
func (s *Socket) filter() error {
	only := unix.ICMPv6Filter{}
	for i := range only.Data {
		only.Data[i] = ^uint32(0) // a set bit blocks the type
	}
	only.Data[ipv6.ICMPTypeEchoReply>>5] &^= 1 << (ipv6.ICMPTypeEchoReply & 31)
	const idOffset, idSize, all = 4, 2, 1 << 16
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: idOffset, Size: idSize},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(s.id), SkipFalse: 1},
		bpf.RetConstant{Val: all},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return err
	}
	filters := make([]unix.SockFilter, len(program))
	for i, op := range program {
		filters[i] = unix.SockFilter{Code: op.Op, Jt: op.Jt, Jf: op.Jf, K: op.K}
	}
	return errors.Join(
		unix.SetsockoptICMPv6Filter(s.fd, unix.SOL_ICMPV6, unix.ICMPV6_FILTER, &only),
		unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}))
}

// Close closes the socket. Send opens it again.
func (s *Socket) Close() {
	if s.isOpen {
		_ = unix.Close(s.fd)
		s.isOpen = false
	}
}
