package nat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

// capture sees all packets on all links of all labs of this program: each link of a node ends here.
type capture struct {
	fd    int
	group errgroup.Group
	stop  chan struct{}
	// secret must not be seen; spoken must.
	secret, spoken []byte
	// ports are what came from each link of a node, by the index of its other end.
	ports map[int]*heard
}

// heard are the packets that came from a link of a node.
type heard struct {
	// secret and spoken count those that have these texts, and wireguard those with WireGuard's data
	// in UDP.
	secret, spoken, wireguard int
}

// captureBuffer holds what arrives while this program waits for a processor, in bytes.
const captureBuffer = 128 << 20

// allProtocols is ETH_P_ALL in network byte order.
var allProtocols = int(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)))

// startCapture looks for two texts on all links.
func startCapture(t *testing.T, secret, spoken string) *capture {
	t.Helper()
	c := &capture{stop: make(chan struct{}), secret: []byte(secret), spoken: []byte(spoken), ports: map[int]*heard{}}
	var err error
	if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(c.fd) })
	err = errors.Join(
		// A packet that goes out at one end of a network has come in at another.
		unix.SetsockoptInt(c.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer),
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: uint16(allProtocols)}))
	if err != nil {
		t.Fatal(err)
	}
	c.group.Go(c.read)
	return c
}

// read counts packets until the capture is stopped and what is in its buffer is read.
func (c *capture) read() error {
	buffer := make([]byte, 1<<17)
	for {
		n, from, err := unix.Recvfrom(c.fd, buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			select {
			case <-c.stop:
				return nil
			default:
			}
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
		case err != nil:
			return err
		default:
			if link, ok := from.(*unix.SockaddrLinklayer); ok {
				c.count(link.Ifindex, buffer[:n])
			}
		}
	}
}

func (c *capture) count(port int, frame []byte) {
	h := c.ports[port]
	if h == nil {
		h = &heard{}
		c.ports[port] = h
	}
	if bytes.Contains(frame, c.secret) {
		h.secret++
	}
	if bytes.Contains(frame, c.spoken) {
		h.spoken++
	}
	if isWireGuardData(frame) {
		h.wireguard++
	}
}

// isWireGuardData reports whether an Ethernet frame has a UDP datagram that begins as WireGuard's data.
func isWireGuardData(frame []byte) bool {
	const ethernet, udp = 14, 8
	if len(frame) < ethernet {
		return false
	}
	packet, header := frame[ethernet:], 40
	switch binary.BigEndian.Uint16(frame[ethernet-2:]) {
	case unix.ETH_P_IP:
		if len(packet) < 20 || packet[9] != unix.IPPROTO_UDP {
			return false
		}
		header = int(packet[0]&15) * 4
	case unix.ETH_P_IPV6:
		if len(packet) < header || packet[6] != unix.IPPROTO_UDP {
			return false
		}
	default:
		return false
	}
	return len(packet) > header+udp+4 && bytes.Equal(packet[header+udp:header+udp+4], []byte{4, 0, 0, 0})
}

// end stops the capture, which must have lost nothing. After it, from may be called.
func (c *capture) end(t *testing.T) {
	t.Helper()
	close(c.stop)
	if err := c.group.Wait(); err != nil {
		t.Fatal(err)
	}
	statistics, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packets were captured", statistics.Packets)
	if statistics.Drops > 0 {
		t.Errorf("the capture missed %d of %d packets", statistics.Drops, statistics.Packets)
	}
	for port, h := range c.ports {
		if h.secret > 0 {
			link, err := netlink.LinkByIndex(port)
			if err != nil {
				t.Fatal(err)
			}
			t.Errorf("%d packets were in clear on the link at %s", h.secret, link.Attrs().Name)
		}
	}
}

// from returns what came from a link of a node.
func (c *capture) from(t *testing.T, node *lab.Node) heard {
	t.Helper()
	link, err := netlink.LinkByName(node.Port(lab.Link))
	if err != nil {
		t.Fatal(err)
	}
	if h := c.ports[link.Attrs().Index]; h != nil {
		return *h
	}
	return heard{}
}
