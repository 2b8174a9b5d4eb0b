package chaos

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// capture sees all frames on the links of all labs of this program: each link of a node ends in its
// network namespace. It looks for the texts of one lab.
type capture struct {
	fd    int
	group errgroup.Group
	stop  chan struct{}
	// secret must not be seen; spoken must, once it was said.
	secret, spoken []byte

	mu sync.Mutex
	// heard counts the frames with spoken, clear those with secret, by what they are.
	heard int
	clear map[string]int
}

// captureBuffer holds what arrives while this program waits for a processor, in bytes.
const captureBuffer = 64 << 20

// allProtocols is ETH_P_ALL in network byte order.
var allProtocols = binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))

// startCapture looks for two texts until it is closed.
func startCapture(secret, spoken string) (*capture, error) {
	c := &capture{stop: make(chan struct{}), secret: []byte(secret), spoken: []byte(spoken), clear: map[string]int{}}
	var err error
	if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	err = errors.Join(
		// A frame that goes out at one end of a network has come in at another.
		unix.SetsockoptInt(c.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer),
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: allProtocols}))
	if err != nil {
		return nil, errors.Join(err, unix.Close(c.fd))
	}
	c.group.Go(c.read)
	return c, nil
}

// close ends the capture.
func (c *capture) close() error {
	close(c.stop)
	return errors.Join(c.group.Wait(), unix.Close(c.fd))
}

func (c *capture) read() error {
	buffer := make([]byte, 1<<17)
	for {
		select {
		case <-c.stop:
			return nil
		default:
		}
		n, _, err := unix.Recvfrom(c.fd, buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
		case err != nil:
			return err
		default:
			c.look(buffer[:n])
		}
	}
}

func (c *capture) look(frame []byte) {
	secret, spoken := bytes.Contains(frame, c.secret), bytes.Contains(frame, c.spoken)
	if !secret && !spoken {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if spoken {
		c.heard++
	}
	if secret {
		c.clear[endsOf(frame)]++
	}
}

// hasHeard reports whether the spoken text was seen.
func (c *capture) hasHeard() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard > 0
}

// inClear returns the frames with the secret text since the last call, a line for each kind; "" for
// none. It fails if frames were missed.
func (c *capture) inClear() (string, error) {
	statistics, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err == nil && statistics.Drops > 0 {
		err = fmt.Errorf("%d frames were missed", statistics.Drops)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for _, kind := range slices.Sorted(maps.Keys(c.clear)) {
		lines = append(lines, fmt.Sprintf("%d frames %s", c.clear[kind], kind))
	}
	clear(c.clear)
	return strings.Join(lines, "\n"), err
}

// endsOf returns the ends of the packet in an Ethernet frame.
func endsOf(frame []byte) string {
	if len(frame) < 54 {
		return "too short for IP"
	}
	packet := frame[14:]
	switch packet[0] >> 4 {
	case 4:
		return fmt.Sprintf("%v to %v protocol %d", net.IP(packet[12:16]), net.IP(packet[16:20]), packet[9])
	case 6:
		return fmt.Sprintf("%v to %v protocol %d", net.IP(packet[8:24]), net.IP(packet[24:40]), packet[6])
	}
	return "not IP"
}
