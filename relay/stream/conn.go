package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Path is that of a relay's stream.
	Path = "/relay"
	// Protocol is the name of what follows the upgrade.
	Protocol = "spanctl-relay"

	// MaxPacket is the size of the largest packet, in bytes: that of a jumbo frame, with room.
	MaxPacket = 16 << 10
	// queue is how many packets wait to be sent at most, and queueBytes how many bytes.
	queue, queueBytes = 256, 512 << 10
	header            = 2
)

// times are those of a connection.
type times struct {
	// idle is when a frame without a packet is sent. Proxies close what is idle for a minute.
	idle time.Duration
	// dead is how long the other end may send nothing.
	dead time.Duration
	// stuck is how long the other end may take nothing.
	stuck time.Duration
}

var usual = times{idle: 15 * time.Second, dead: 45 * time.Second, stuck: 10 * time.Second}

// deadlines are those of a connection.
type deadlines interface {
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Conn is a connection that carries packets.
type Conn struct {
	raw       io.ReadWriteCloser
	deadlines deadlines
	times     times
	sent      atomic.Uint64
	dropped   atomic.Uint64

	// buffer has what was read, from start to end.
	buffer     []byte
	start, end int

	mu sync.Mutex
	// pending are the frames to be sent, and packets how many.
	pending []byte
	packets int
	// wake has an element when there are any.
	wake   chan struct{}
	closed chan struct{}
	once   sync.Once
	// failure is why the connection was closed.
	failure error
}

// newConn returns a connection. early is what was read after the headers.
func newConn(raw io.ReadWriteCloser, d deadlines, early []byte, in times) *Conn {
	c := &Conn{raw: raw, deadlines: d, times: in, buffer: make([]byte, 2*(header+MaxPacket)), wake: make(chan struct{}, 1), closed: make(chan struct{})}
	c.end = copy(c.buffer, early)
	go c.write()
	return c
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.close(nil)
	return nil
}

func (c *Conn) close(why error) {
	c.once.Do(func() {
		c.mu.Lock()
		c.failure, c.pending = why, nil
		c.mu.Unlock()
		close(c.closed)
		_ = c.raw.Close()
	})
}

// Done is closed when the connection is.
func (c *Conn) Done() <-chan struct{} { return c.closed }

// Counts returns how many packets were sent, and how many of Send were dropped.
func (c *Conn) Counts() (sent, dropped uint64) { return c.sent.Load(), c.dropped.Load() }

// errClosed is the error of a closed connection.
var errClosed = errors.New("stream: closed")

func (c *Conn) closedError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return c.failure
	}
	return errClosed
}

// Receive waits for a packet and copies it to b. A packet that does not fit is dropped.
func (c *Conn) Receive(b []byte) (int, error) {
	for {
		if p, ok := c.next(); ok {
			if len(p) <= len(b) {
				return copy(b, p), nil
			}
			c.dropped.Add(1)
			continue
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
}

// ReceiveAll waits for packets and appends them to packets[:0]. They hold until the next call.
func (c *Conn) ReceiveAll(packets [][]byte) ([][]byte, error) {
	packets = packets[:0]
	for {
		for p, ok := c.next(); ok; p, ok = c.next() {
			packets = append(packets, p)
		}
		if len(packets) > 0 {
			return packets, nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// next takes a packet from the buffer. ok is false if it has none that is complete.
func (c *Conn) next() (packet []byte, ok bool) {
	for c.end-c.start >= header {
		size := int(binary.BigEndian.Uint16(c.buffer[c.start:]))
		if size > MaxPacket || c.end-c.start < header+size {
			return nil, false
		}
		at := c.start + header
		c.start = at + size
		if size > 0 {
			return c.buffer[at:c.start:c.start], true
		}
	}
	return nil, false
}

// fill reads more.
func (c *Conn) fill() error {
	if c.end-c.start >= header && binary.BigEndian.Uint16(c.buffer[c.start:]) > MaxPacket {
		err := fmt.Errorf("stream: the other end sends a packet of more than %d bytes", MaxPacket)
		c.close(err)
		return err
	}
	c.end = copy(c.buffer, c.buffer[c.start:c.end])
	c.start = 0
	_ = c.deadlines.SetReadDeadline(time.Now().Add(c.times.dead)) // a closed connection fails below
	n, err := c.raw.Read(c.buffer[c.end:])
	c.end += n
	if n > 0 || err == nil {
		return nil
	}
	c.close(fmt.Errorf("stream: receive: %w", err))
	return c.closedError()
}

// Send queues a packet to be sent. It does not wait: a packet for which there is no room is dropped. The error is that of
// a closed connection.
func (c *Conn) Send(packet []byte) error {
	select {
	case <-c.closed:
		return c.closedError()
	default:
	}
	c.mu.Lock()
	if c.packets >= queue || len(c.pending)+header+len(packet) > queueBytes || len(packet) > MaxPacket || len(packet) == 0 {
		c.mu.Unlock()
		c.dropped.Add(1)
		return nil
	}
	c.pending = binary.BigEndian.AppendUint16(c.pending, uint16(len(packet)))
	c.pending = append(c.pending, packet...)
	c.packets++
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

// write sends what is queued, until the connection is closed.
func (c *Conn) write() {
	idle := time.NewTimer(c.times.idle)
	defer idle.Stop()
	var frames []byte
	for {
		packets := 0
		select {
		case <-c.closed:
			return
		case <-idle.C:
			frames = []byte{0, 0} // an idle connection keeps no large buffers
			c.mu.Lock()
			if c.packets == 0 {
				c.pending = nil
			}
			c.mu.Unlock()
		case <-c.wake:
			c.mu.Lock()
			frames, c.pending = c.pending, frames[:0]
			packets, c.packets = c.packets, 0
			c.mu.Unlock()
		}
		_ = c.deadlines.SetWriteDeadline(time.Now().Add(c.times.stuck)) // a closed connection fails below
		if _, err := c.raw.Write(frames); err != nil {
			c.close(fmt.Errorf("stream: send: %w", err))
			return
		}
		c.sent.Add(uint64(packets))
		idle.Reset(c.times.idle)
	}
}
