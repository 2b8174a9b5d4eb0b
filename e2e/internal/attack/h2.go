package attack

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/spanmesh/span/e2e/internal/wire"
)

// maxWindow is the largest window of HTTP/2's flow control, in bytes.
const maxWindow = math.MaxInt32

// errEnded is the error of an attack that the server ended without closing the connection.
var errEnded = errors.New("the server ended all streams")

// h2 is an HTTP/2 connection by hand. Its frames may be written by several goroutines, and
// are read by one.
type h2 struct {
	net.Conn
	mu     sync.Mutex
	frames *http2.Framer
	header bytes.Buffer
	encode *hpack.Encoder
}

// dialH2 connects, and sends the preface and settings. The connection is closed when ctx
// ends.
func (a *attacker) dialH2(ctx context.Context, i int, settings ...http2.Setting) (*h2, error) {
	conn, err := a.dial(ctx, i)
	if err != nil {
		return nil, err
	}
	return newH2(conn, settings...)
}

func newH2(conn net.Conn, settings ...http2.Setting) (*h2, error) {
	c := &h2{Conn: conn, frames: http2.NewFramer(conn, conn)}
	c.frames.AllowIllegalWrites = true
	c.frames.AllowIllegalReads = true
	c.encode = hpack.NewEncoder(&c.header)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		_ = conn.Close()
		return nil, err
	}
	if err := c.frames.WriteSettings(settings...); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// block returns the encoded header of a request.
func (c *h2) block(path, contentType string, more ...hpack.HeaderField) []byte {
	c.header.Reset()
	fields := append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: path},
		{Name: ":authority", Value: "discovery"}, {Name: "content-type", Value: contentType}, {Name: "te", Value: "trailers"},
	}, more...)
	for _, f := range fields {
		_ = c.encode.WriteField(f) // a bytes.Buffer takes everything
	}
	return c.header.Bytes()
}

// begin sends the header of a request.
func (c *h2) begin(stream uint32, method, contentType string, more ...hpack.HeaderField) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: c.block(wire.Service+method, contentType, more...), EndHeaders: true})
}

// call sends a whole request.
func (c *h2) call(stream uint32, method, contentType string, body []byte, more ...hpack.HeaderField) error {
	if err := c.begin(stream, method, contentType, more...); err != nil {
		return err
	}
	return c.data(stream, true, body)
}

func (c *h2) data(stream uint32, end bool, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames.WriteData(stream, end, body)
}

// read reads until the server has ended n streams, or closes the connection. It answers
// settings and pings.
func (c *h2) read(n int) error {
	for {
		frame, err := c.frames.ReadFrame()
		var stream http2.StreamError
		if errors.As(err, &stream) {
			continue
		}
		if err != nil {
			return err
		}
		ends := false
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			err = c.answer(f.IsAck(), c.frames.WriteSettingsAck)
		case *http2.PingFrame:
			err = c.answer(f.IsAck(), func() error { return c.frames.WritePing(true, f.Data) })
		case *http2.RSTStreamFrame:
			ends = true
		case *http2.HeadersFrame:
			ends = f.StreamEnded()
		case *http2.DataFrame:
			ends = f.StreamEnded()
		}
		if err != nil {
			return err
		}
		if ends {
			if n--; n == 0 {
				return errEnded
			}
		}
	}
}

func (c *h2) answer(isAck bool, write func() error) error {
	if isAck {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return write()
}
