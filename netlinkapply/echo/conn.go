package echo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

const (
	// headers are the sizes of the IPv6 header (RFC 8200, section 3) and of the header of an echo
	// (RFC 4443, section 4.1), in bytes.
	headers = 40 + 8
	// MinSize is the size of the smallest packet of a Conn, in bytes.
	MinSize = headers + len(Socket{}.token)
)

// ErrTooLarge is the error of a packet that is larger than the link's MTU.
var ErrTooLarge = errors.New("the packet is larger than the link's MTU")

// Conn sends echoes to one address over a link, in packets of any size that are not split, and
// waits for the answers. It has a socket and an identifier of its own: other sockets do not see its
// answers. A Conn is for one goroutine.
type Conn struct {
	link   string
	to     netip.Addr
	socket Socket
	file   *os.File
	conn   syscall.RawConn
	next   uint16
}

// Dial opens a Conn to an IPv6 address, over a link and with a firewall mark.
func Dial(link string, mark uint32, to netip.Addr) (*Conn, error) {
	c := &Conn{link: link, to: to}
	if err := c.socket.open(link, mark); err != nil {
		return nil, err
	}
	err := errors.Join(
		unix.SetsockoptInt(c.socket.fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1),
		// What the kernel has learned of the path does not count: it is what is asked for.
		unix.SetsockoptInt(c.socket.fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE))
	if err != nil {
		c.socket.Close()
		return nil, fmt.Errorf("set up the socket for echoes over %s: %w", link, err)
	}
	// The socket does not block, so that reading it can be given up.
	c.file = os.NewFile(uintptr(c.socket.fd), "echo")
	if c.conn, err = c.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, c.file.Close())
	}
	return c, nil
}

// Close closes the socket.
func (c *Conn) Close() error { return c.file.Close() }

// Echo sends an echo in a packet of a size in bytes, with its IPv6 header, and returns the
// round-trip time; answered is false if no answer came in time. The round-trip time is zero if the
// clock was set meanwhile.
func (c *Conn) Echo(ctx context.Context, size int, wait time.Duration) (rtt time.Duration, answered bool, err error) {
	return c.try(ctx, size, 1, 0, wait)
}

// try sends up to a number of echoes with pauses, until one is answered, and waits for an answer
// after the last.
func (c *Conn) try(ctx context.Context, size, times int, pause, wait time.Duration) (rtt time.Duration, answered bool, err error) {
	sent := make(map[uint16]time.Time, times)
	for i := range times {
		sequence, at := c.next, time.Now()
		c.next++
		if err := c.send(sequence, size); err != nil {
			return 0, false, err
		}
		sent[sequence] = at
		until := pause
		if i == times-1 {
			until = wait
		}
		if rtt, answered, err = c.await(ctx, sent, size, at.Add(until)); answered || err != nil {
			return rtt, answered, err
		}
	}
	return 0, false, nil
}

func (c *Conn) send(sequence uint16, size int) error {
	data := make([]byte, max(size, MinSize)-headers)
	copy(data, c.socket.token[:])
	message := icmp.Message{Type: ipv6.ICMPTypeEchoRequest, Body: &icmp.Echo{ID: int(c.socket.id), Seq: int(sequence), Data: data}}
	packet, err := message.Marshal(nil) // the kernel adds the checksum
	if err != nil {
		return err
	}
	err = unix.Sendto(c.socket.fd, packet, 0, &unix.SockaddrInet6{Addr: c.to.As16()})
	switch {
	case errors.Is(err, unix.EMSGSIZE):
		return fmt.Errorf("%d bytes over %s: %w", size, c.link, ErrTooLarge)
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		return nil // lost on the way, as any packet may be
	case err != nil:
		return fmt.Errorf("echo to %s over %s: %w", c.to, c.link, err)
	default:
		return nil
	}
}

// await reads answers until a time, or until one answers a request in sent.
func (c *Conn) await(ctx context.Context, sent map[uint16]time.Time, size int, until time.Time) (rtt time.Duration, answered bool, err error) {
	if err := c.file.SetReadDeadline(until); err != nil {
		return 0, false, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.file.SetReadDeadline(time.Unix(1, 0)) }) // it fails once it is closed
	defer stop()
	data, control := make([]byte, max(size, MinSize)), make([]byte, 64)
	for ctx.Err() == nil {
		var n, controlLength int
		var from unix.Sockaddr
		var failure error
		err := c.conn.Read(func(fd uintptr) bool {
			n, controlLength, _, from, failure = unix.Recvmsg(int(fd), data, control, unix.MSG_DONTWAIT)
			return !errors.Is(failure, unix.EAGAIN)
		})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return 0, false, err
		}
		if failure != nil {
			continue // an ICMP error about a request, or a signal
		}
		if sequence, ok := c.answers(data[:n], from, size); ok {
			if at, is := sent[sequence]; is {
				return roundTrip(at, arrived(control[:controlLength])), true, nil
			}
		}
	}
	return 0, false, ctx.Err()
}

// answers returns the sequence number of a message that answers a request of some size.
func (c *Conn) answers(data []byte, from unix.Sockaddr, size int) (sequence uint16, ok bool) {
	if source, is := from.(*unix.SockaddrInet6); !is || netip.AddrFrom16(source.Addr) != c.to {
		return 0, false
	}
	const header = headers - 40
	if len(data) != max(size, MinSize)-40 || data[0] != byte(ipv6.ICMPTypeEchoReply) ||
		c.socket.raw && binary.BigEndian.Uint16(data[4:]) != c.socket.id {
		return 0, false
	}
	return binary.BigEndian.Uint16(data[6:]), slices.Equal(data[header:header+len(c.socket.token)], c.socket.token[:])
}
