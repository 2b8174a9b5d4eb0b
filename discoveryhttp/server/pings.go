package server

import (
	"encoding/binary"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

const (
	// pingWait is how long the answer to a ping waits for data that it can leave with.
	pingWait = 200 * time.Millisecond
	// pingAnswer is the length of a frame that answers a ping, in bytes.
	pingAnswer = 9 + 8
	// joined bounds the data that is copied to leave with an answer, in bytes.
	joined = 1 << 10
)

// pingConn lets answers to pings leave with data. The clients of gRPC ping after whatever
// they receive, to measure the path: written at once, the answer costs as much as the
// delivery. Clients that ping to learn whether the server is alive wait for seconds.
type pingConn struct {
	net.Conn

	mu sync.Mutex
	// held is an answer that waits since.
	held  []byte
	since time.Time
	timer *time.Timer
	// armed is set while the timer runs.
	armed bool
	out   []byte
}

// newPingConn returns a connection whose writes are those of an HTTP/2 server: each ends at
// the end of a frame.
func newPingConn(c net.Conn) *pingConn {
	p := &pingConn{Conn: c}
	p.timer = time.AfterFunc(time.Hour, p.expire)
	p.timer.Stop()
	return p
}

// isPingAnswer reports whether b is one frame that answers a ping.
func isPingAnswer(b []byte) bool {
	return len(b) == pingAnswer && binary.BigEndian.Uint32(b)>>8 == 8 && http2.FrameType(b[3]) == http2.FramePing &&
		http2.Flags(b[4]).Has(http2.FlagPingAck)
}

// Write implements net.Conn.
func (c *pingConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.held) == 0 {
		if !isPingAnswer(b) {
			return c.Conn.Write(b)
		}
		c.held = append(c.held, b...)
		c.since = time.Now()
		if !c.armed {
			c.armed = true
			c.timer.Reset(pingWait)
		}
		return len(b), nil
	}
	if len(b) > joined {
		if err := c.release(); err != nil {
			return 0, err
		}
		return c.Conn.Write(b)
	}
	held := len(c.held)
	c.out = append(append(c.out[:0], c.held...), b...)
	c.held = c.held[:0]
	n, err := c.Conn.Write(c.out)
	return max(0, n-held), err
}

// release writes the answer that waits. c.mu is held.
func (c *pingConn) release() error {
	if len(c.held) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.held)
	c.held = c.held[:0]
	return err
}

// expire writes the answer if it has waited long enough.
func (c *pingConn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = false
	if len(c.held) == 0 {
		return
	}
	if wait := pingWait - time.Since(c.since); wait > 0 {
		c.armed = true
		c.timer.Reset(wait)
		return
	}
	if err := c.release(); err != nil {
		_ = c.Conn.Close()
	}
}

// Close implements net.Conn.
func (c *pingConn) Close() error {
	c.timer.Stop()
	return c.Conn.Close()
}
