package door

import (
	"bufio"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

const (
	// writeChunk is how much is written with one deadline, in bytes.
	writeChunk = 64 << 10
	// freshness is the part of the write timeout for which a deadline serves further writes.
	// Setting one for each small write would cost CPU.
	freshness = 10
)

// Conn is an accepted connection. Its reads begin with the first byte that the client sent,
// after TLS. Each write has a deadline; when it passes, the connection is reset.
type Conn struct {
	net.Conn
	raw     net.Conn
	caller  netip.Addr
	timeout time.Duration
	who     *caller
	door    *Door

	// peeked is what was read before and is to be read again; nil once it was.
	peeked *peeked
	// own is the write deadline that the owner of the connection has set; zero for none.
	own atomic.Pointer[time.Time]
	// refreshed is when the write deadline was set, in nanoseconds since started.
	refreshed atomic.Int64
	started   time.Time
}

// Caller returns the address of the other end, which may be a proxy. It is not valid if the
// network has no addresses.
func (c *Conn) Caller() netip.Addr { return c.caller }

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if c.peeked == nil {
		return c.Conn.Read(p)
	}
	n, err := c.peeked.Read(p)
	if c.peeked.empty() {
		c.peeked = nil
	}
	return n, err
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	written := 0
	for {
		chunk := p[written:min(len(p), written+writeChunk)]
		if err := c.refresh(); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(chunk)
		written += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.door.stats.stuck.Add(1)
			c.reset()
		}
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// refresh sets the write deadline if it is no longer fresh.
func (c *Conn) refresh() error {
	now := time.Since(c.started)
	if last := c.refreshed.Load(); last != 0 && now-time.Duration(last) < c.timeout/freshness {
		return nil
	}
	c.refreshed.Store(int64(now))
	deadline := c.started.Add(now + c.timeout)
	if own := c.own.Load(); own != nil && own.Before(deadline) {
		deadline = *own
	}
	return c.Conn.SetWriteDeadline(deadline)
}

// SetWriteDeadline implements net.Conn. A later deadline than that of each write has no
// effect.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		c.own.Store(nil)
	} else {
		c.own.Store(&t)
	}
	c.refreshed.Store(0)
	return c.refresh()
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.door.callers.leave(c)
	return err
}

// reset closes the connection and drops what the kernel has still to send, which a client
// that does not read would otherwise pin for minutes.
func (c *Conn) reset() {
	abort(c.raw)
	c.door.callers.leave(c)
}

// peeked reads what was read from a connection before, and then what its buffer holds.
type peeked struct {
	// read are the bytes that were looked at. They end between two frames of HTTP/2, or
	// anywhere in another protocol.
	read []byte
	// buffer holds what the connection sent beyond them.
	buffer *bufio.Reader
	// withhold is set until the acknowledgment of the door's SETTINGS was dropped.
	withhold bool
	// rest is how much of the current frame has not been read, while withhold is set.
	rest int
}

// empty reports whether further reads may go to the connection itself.
func (p *peeked) empty() bool {
	return len(p.read) == 0 && p.buffer.Buffered() == 0 && !p.withhold
}

func (p *peeked) Read(b []byte) (int, error) {
	if len(p.read) > 0 {
		n := copy(b, p.read)
		p.read = p.read[n:]
		return n, nil
	}
	if !p.withhold {
		return p.buffer.Read(b)
	}
	if len(b) == 0 {
		return 0, nil
	}
	if p.rest == 0 {
		if err := p.nextFrame(); err != nil {
			return 0, err
		}
	}
	if p.withhold {
		b = b[:min(len(b), p.rest)]
	}
	n, err := p.buffer.Read(b)
	p.rest -= n
	return n, err
}

// nextFrame finds the end of the next frame to be read, and drops an acknowledgment before it.
func (p *peeked) nextFrame() error {
	header, err := p.buffer.Peek(frameHeader)
	if err != nil {
		return err
	}
	if isSettingsAck(header) {
		p.withhold = false
		_, err = p.buffer.Discard(frameHeader)
		return err
	}
	p.rest = frameHeader + frameLength(header)
	return nil
}
