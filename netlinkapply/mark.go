package netlinkapply

import (
	"context"
	"net"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/firewall"
)

// MarkedDialer returns a dial function whose packets have a firewall mark (SO_MARK,
// socket(7)), so that they stay out of the tunnels, and the priority by which the guard knows
// them. A process without CAP_NET_ADMIN cannot set either, and its connections go without: it
// cannot have a mesh either.
func MarkedDialer(mark uint32) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Control: marked(mark)}
	return dialer.DialContext
}

// ListenMarked opens a UDP socket at a port of all addresses. Its packets are as those of MarkedDialer.
func ListenMarked(ctx context.Context, port uint16, mark uint32) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: marked(mark)}
	conn, err := config.ListenPacket(ctx, "udp", ":"+strconv.Itoa(int(port)))
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

func marked(mark uint32) func(_, _ string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = setMark(fd, mark)
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PRIORITY, firewall.AgentPriority)
		})
	}
}

// setMark is the only place that sets the mark of a socket.
func setMark(fd uintptr, mark uint32) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
}
