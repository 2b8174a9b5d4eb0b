package sharedport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ErrNotPermitted is the error of a process that may not open raw sockets, or not mark them.
var ErrNotPermitted = errors.New("not permitted to share WireGuard's port: CAP_NET_RAW or CAP_NET_ADMIN is missing")

// ErrNoFamily is the error of sending by an IP version that the machine does not have.
var ErrNoFamily = errors.New("the machine has no sockets of that IP version")

const (
	// maxDatagram is how much of a datagram is received, in bytes.
	maxDatagram = 1500
	// stunCookie is at an offset in each message of STUN (RFC 8489, section 5).
	stunCookie       = 0x2112A442
	stunCookieOffset = 4
	// checksumOffset is that of the checksum in UDP's header.
	checksumOffset = 6
)

// Conn sends and receives on a port of all addresses of the machine. Its methods are safe for
// concurrent use.
type Conn struct {
	port     uint16
	mark     uint32
	families []*family
	closed   atomic.Bool
}

// family is the socket of an IP version.
type family struct {
	domain int
	file   *os.File
	raw    syscall.RawConn
}

// Open opens sockets of the IP versions that the machine has, with a firewall mark. Its error is
// ErrNotPermitted where the process may not.
func Open(port uint16, mark uint32) (*Conn, error) {
	c := &Conn{port: port, mark: mark}
	for _, domain := range []int{unix.AF_INET, unix.AF_INET6} {
		f, err := open(domain, port, mark)
		switch {
		case errors.Is(err, unix.EAFNOSUPPORT):
			continue
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
			err = fmt.Errorf("%w (%w)", ErrNotPermitted, err)
			fallthrough
		case err != nil:
			return nil, errors.Join(err, c.Close())
		}
		c.families = append(c.families, f)
	}
	return c, nil
}

func open(domain int, port uint16, mark uint32) (*family, error) {
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("open a raw socket: %w", err)
	}
	f := &family{domain: domain, file: os.NewFile(uintptr(fd), "sharedport")}
	if err := f.setUp(fd, port, mark); err != nil {
		return nil, errors.Join(fmt.Errorf("set up a raw socket: %w", err), f.file.Close())
	}
	if f.raw, err = f.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, f.file.Close())
	}
	return f, nil
}

func (f *family) setUp(fd int, port uint16, mark uint32) error {
	instructions := filter4(port)
	if f.domain == unix.AF_INET6 {
		instructions = filter6(port)
	}
	program, err := bpf.Assemble(instructions)
	if err != nil {
		return err
	}
	filters := make([]unix.SockFilter, len(program))
	for i, op := range program {
		filters[i] = unix.SockFilter{Code: op.Op, Jt: op.Jt, Jf: op.Jf, K: op.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}); err != nil {
		return err
	}
	// What came in before the filter was there is of no use.
	var none [1]byte
	for err == nil {
		_, _, err = unix.Recvfrom(fd, none[:], unix.MSG_DONTWAIT)
	}
	if f.domain == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_CHECKSUM, checksumOffset); err != nil {
			return err
		}
	}
	if mark == 0 {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark))
}

// filter4 lets the messages of STUN to the port through. A raw socket of IPv4 sees IP's header.
func filter4(port uint16) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: fragmented, SkipTrue: 6},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 3},
		bpf.LoadIndirect{Off: udpHeader + stunCookieOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: stunCookie, SkipTrue: 1},
		bpf.RetConstant{Val: maxDatagram},
		bpf.RetConstant{Val: 0},
	}
}

// filter6 is filter4 for a raw socket of IPv6, which does not see IP's header.
func filter6(port uint16) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 3},
		bpf.LoadAbsolute{Off: udpHeader + stunCookieOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: stunCookie, SkipTrue: 1},
		bpf.RetConstant{Val: maxDatagram},
		bpf.RetConstant{Val: 0},
	}
}

// of returns the socket of an address' IP version; nil for none.
func (c *Conn) of(a netip.Addr) *family {
	domain := unix.AF_INET
	if a.Is6() {
		domain = unix.AF_INET6
	}
	for _, f := range c.families {
		if f.domain == domain {
			return f
		}
	}
	return nil
}

// Send sends a datagram from the port.
func (c *Conn) Send(to netip.AddrPort, payload []byte) error {
	f := c.of(to.Addr())
	if f == nil {
		return ErrNoFamily
	}
	d := datagram(c.port, to.Port(), payload)
	address := unix.Sockaddr(&unix.SockaddrInet6{Addr: to.Addr().As16()})
	if f.domain == unix.AF_INET {
		source, err := c.source(to)
		if err != nil {
			return fmt.Errorf("find the way to %v: %w", to.Addr(), err)
		}
		sign4(d, source, to.Addr())
		address = &unix.SockaddrInet4{Addr: to.Addr().As4()}
	}
	var failure error
	err := f.raw.Control(func(fd uintptr) { failure = unix.Sendto(int(fd), d, unix.MSG_DONTWAIT, address) })
	if err = errors.Join(err, failure); err != nil {
		return fmt.Errorf("send to %v: %w", to, err)
	}
	return nil
}

// source returns the address that the kernel sends from. A rule may send marked packets elsewhere, so
// that the lookup has the mark.
func (c *Conn) source(to netip.AddrPort) (netip.Addr, error) {
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		if c.mark == 0 {
			return nil
		}
		var failure error
		err := raw.Control(func(fd uintptr) {
			failure = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(c.mark))
		})
		return errors.Join(err, failure)
	}}
	conn, err := dialer.Dial("udp4", to.String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer func() { _ = conn.Close() }()
	local, is := conn.LocalAddr().(*net.UDPAddr)
	if !is {
		return netip.Addr{}, net.UnknownNetworkError(conn.LocalAddr().Network())
	}
	return local.AddrPort().Addr().Unmap(), nil
}

// Receive calls take with what comes, until Close. Two calls may be under way at once, one of each IP
// version. The payload is take's only until it returns.
func (c *Conn) Receive(take func(from netip.AddrPort, payload []byte)) error {
	var group sync.WaitGroup
	failures := make([]error, len(c.families))
	for i, f := range c.families {
		group.Go(func() {
			if err := f.receive(c.port, take); !c.closed.Load() {
				failures[i] = err
			}
		})
	}
	group.Wait()
	return errors.Join(failures...)
}

// receive receives until the socket is closed.
func (f *family) receive(port uint16, take func(netip.AddrPort, []byte)) error {
	buffer := make([]byte, maxDatagram)
	for {
		var n int
		var from unix.Sockaddr
		var failure error
		err := f.raw.Read(func(fd uintptr) bool {
			n, from, failure = unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
			return !errors.Is(failure, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return fmt.Errorf("receive from a raw socket: %w", err)
		case failure != nil:
			continue // an ICMP error about what was sent, or a signal
		}
		sender, payload, ok := parse4(buffer[:n], port)
		if source, is := from.(*unix.SockaddrInet6); is {
			sender, payload, ok = parseUDP(netip.AddrFrom16(source.Addr), buffer[:n], port)
		}
		if ok {
			take(sender, payload)
		}
	}
}

// Close closes the sockets, which ends Receive.
func (c *Conn) Close() (err error) {
	if c.closed.Swap(true) {
		return nil
	}
	for _, f := range c.families {
		err = errors.Join(err, f.file.Close())
	}
	return err
}
