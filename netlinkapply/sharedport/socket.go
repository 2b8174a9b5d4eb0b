package sharedport

import (
	"encoding/binary"
	"errors"
	"fmt"
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

// Send sends a datagram from the port, which at most that many hops forward; 0 for as many as the
// machine's packets usually have.
func (c *Conn) Send(to netip.AddrPort, payload []byte, hops uint8) error {
	f := c.of(to.Addr())
	if f == nil {
		return ErrNoFamily
	}
	d := datagram(c.port, to.Port(), payload)
	address := unix.Sockaddr(&unix.SockaddrInet6{Addr: to.Addr().As16()})
	level, option := unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT
	if f.domain == unix.AF_INET {
		source, err := c.source(to)
		if err != nil {
			return fmt.Errorf("find the way to %v: %w", to.Addr(), err)
		}
		sign4(d, source, to.Addr())
		address = &unix.SockaddrInet4{Addr: to.Addr().As4()}
		level, option = unix.IPPROTO_IP, unix.IP_TTL
	}
	var control []byte
	if hops > 0 {
		control = controlMessage(level, option, uint32(hops))
	}
	var failure error
	err := f.raw.Control(func(fd uintptr) { failure = unix.Sendmsg(int(fd), d, control, address, unix.MSG_DONTWAIT) })
	if err = errors.Join(err, failure); err != nil {
		return fmt.Errorf("send to %v: %w", to, err)
	}
	return nil
}

// controlMessage returns a control message with a number (cmsg(3)).
func controlMessage(level, option int, value uint32) []byte {
	const word = 4
	m, header := make([]byte, unix.CmsgSpace(word)), unix.CmsgLen(0)
	// The length comes first and is a size_t: it takes what the two numbers after it leave.
	if header == 4*word {
		binary.NativeEndian.PutUint64(m, uint64(unix.CmsgLen(word)))
	} else {
		binary.NativeEndian.PutUint32(m, uint32(unix.CmsgLen(word)))
	}
	binary.NativeEndian.PutUint32(m[header-2*word:], uint32(level))
	binary.NativeEndian.PutUint32(m[header-word:], uint32(option))
	binary.NativeEndian.PutUint32(m[header:], value)
	return m
}

// source returns the address that the kernel sends from. A rule may send marked packets elsewhere, so
// that the lookup has the mark.
func (c *Conn) source(to netip.AddrPort) (source netip.Addr, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return source, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if c.mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(c.mark)); err != nil {
			return source, err
		}
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		return source, err
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		return source, err
	}
	own, is := local.(*unix.SockaddrInet4)
	if !is {
		return source, ErrNoFamily
	}
	return netip.AddrFrom4(own.Addr), nil
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
