package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Sizes of HTTP/2 and gRPC, in bytes.
const (
	// frameHead is the length of what precedes a frame's payload.
	frameHead = 9
	// maxFrame is the longest payload that a server sends to a client that asks for no other.
	maxFrame = 16 << 10
	// messageHead is the length of what precedes a gRPC message.
	messageHead = 5
	// readBuffer has room for a frame.
	readBuffer = 32 << 10
	// streamWindow and connWindow are the bytes that a server may send in a call and on a
	// connection before it is told that they were read.
	streamWindow = 1 << 20
	connWindow   = 8 << 20
	// defaultWindow is the window of a new connection.
	defaultWindow = 64<<10 - 1
)

// errDone is what the functions of an answer return to end serve without an error.
var errDone = errors.New("done")

// conn is the client's side of an HTTP/2 connection without TLS that carries gRPC, with as
// little work of its own as possible: it shares the processors with the server. What it
// sends is what Talos' client sends, by grpc-go with its defaults: calls have a timeout, and
// data is answered by a ping. Requests are few and small, so it does not keep account of the
// server's windows. Calls may be started by several goroutines; one serves.
type conn struct {
	net       net.Conn
	authority string

	// Of the goroutine that serves.
	in      *bufio.Reader
	decoder *hpack.Decoder
	answer  header
	unread  int
	// pinged is set until the server answers a ping.
	pinged bool

	mu      sync.Mutex
	out     []byte
	encoder *hpack.Encoder
	block   bytes.Buffer
	next    uint32
	calls   map[uint32]*call
}

// header is what counts of an answer's header or trailer.
type header struct{ http, status, message string }

// answer has the functions that receive what a server answers to a call. An error of
// theirs ends serve.
type answer struct {
	// message receives a message, which is valid until it returns. Nil ignores messages.
	message func(message []byte) error
	// ended is called at the call's end, with nil if the server answered OK.
	ended func(err error) error
}

// call is a call that has not ended.
type call struct {
	answer
	// partial is the beginning of a message.
	partial []byte
	// unread is the number of bytes read that the server has not been told of.
	unread int
}

// dial connects to address from source. The connection is closed when ctx ends.
func dial(ctx context.Context, address string, source netip.Addr) (*conn, error) {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))}
	socket, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &conn{net: socket, authority: address, in: bufio.NewReaderSize(socket, readBuffer), next: 1, calls: map[uint32]*call{}}
	c.encoder = hpack.NewEncoder(&c.block)
	c.decoder = hpack.NewDecoder(4096, c.field)
	c.out = append(c.out, http2.ClientPreface...)
	settings := binary.BigEndian.AppendUint16(nil, uint16(http2.SettingInitialWindowSize))
	c.frame(http2.FrameSettings, 0, 0, binary.BigEndian.AppendUint32(settings, streamWindow))
	c.windowUpdate(0, connWindow-defaultWindow)
	context.AfterFunc(ctx, c.close)
	return c, nil
}

func (c *conn) close() { _ = c.net.Close() }

// frame queues a frame. The caller has the lock.
func (c *conn) frame(kind http2.FrameType, flags http2.Flags, stream uint32, payload []byte) {
	c.frameHead(kind, flags, stream, len(payload))
	c.out = append(c.out, payload...)
}

func (c *conn) frameHead(kind http2.FrameType, flags http2.Flags, stream uint32, length int) {
	c.out = append(c.out, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags))
	c.out = binary.BigEndian.AppendUint32(c.out, stream)
}

func (c *conn) windowUpdate(stream uint32, increment int) {
	c.frameHead(http2.FrameWindowUpdate, 0, stream, 4)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(increment))
}

// callTimeout is the timeout that unary calls ask for.
const callTimeout = "30S"

// start queues a call with an encoded request. The next flush sends it.
func (c *conn) start(method string, request []byte, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.next
	c.next += 2
	c.calls[id] = &call{answer: a}
	c.block.Reset()
	fields := [...]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: service + method},
		{Name: ":authority", Value: c.authority}, {Name: "content-type", Value: "application/grpc"},
		{Name: "user-agent", Value: "load"}, {Name: "te", Value: "trailers"}, {Name: "grpc-timeout", Value: callTimeout},
	}
	sent := fields[:]
	if method == "Watch" {
		sent = fields[:len(fields)-1]
	}
	for _, f := range sent {
		_ = c.encoder.WriteField(f) // to memory
	}
	c.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, id, c.block.Bytes())
	c.frameHead(http2.FrameData, http2.FlagDataEndStream, id, messageHead+len(request))
	c.out = binary.BigEndian.AppendUint32(append(c.out, 0), uint32(len(request)))
	c.out = append(c.out, request...)
}

// flush sends what is queued.
func (c *conn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.net.Write(c.out)
	c.out = c.out[:0]
	return err
}

// peek returns the next n bytes. Before it waits for them, it sends what is queued.
func (c *conn) peek(n int) ([]byte, error) {
	if c.in.Buffered() < n {
		if err := c.flush(); err != nil {
			return nil, err
		}
	}
	b, err := c.in.Peek(n)
	if errors.Is(err, io.EOF) {
		err = errors.New("the server closed the connection")
	}
	return b, err
}

// serve reads answers until an answer's function returns an error.
func (c *conn) serve() error {
	for {
		head, err := c.peek(frameHead)
		if err != nil {
			return err
		}
		length := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		if length > maxFrame {
			return fmt.Errorf("the server sent a frame of %d bytes: want at most %d", length, maxFrame)
		}
		frame, err := c.peek(frameHead + length)
		if err != nil {
			return err
		}
		err = c.receive(http2.FrameType(frame[3]), http2.Flags(frame[4]), binary.BigEndian.Uint32(frame[5:]), frame[frameHead:])
		if errors.Is(err, errDone) {
			err = c.flush()
			_, _ = c.in.Discard(frameHead + length) // is buffered
			return err
		}
		if err != nil {
			return err
		}
		if _, err := c.in.Discard(frameHead + length); err != nil {
			return err
		}
	}
}

func (c *conn) receive(kind http2.FrameType, flags http2.Flags, stream uint32, payload []byte) error {
	switch kind {
	case http2.FrameData:
		return c.data(flags, stream, payload)
	case http2.FrameHeaders:
		return c.headers(flags, stream, payload)
	case http2.FrameRSTStream:
		return c.end(stream, errors.New("the server reset the call"))
	case http2.FrameSettings:
		if !flags.Has(http2.FlagSettingsAck) {
			c.reply(http2.FrameSettings, http2.FlagSettingsAck, nil)
		}
	case http2.FramePing:
		if flags.Has(http2.FlagPingAck) {
			c.pinged = false
		} else {
			c.reply(http2.FramePing, http2.FlagPingAck, payload)
		}
	case http2.FrameGoAway:
		return fmt.Errorf("the server is going away: %q", payload[min(8, len(payload)):])
	case http2.FrameContinuation:
		return errors.New("the server sent a header in several frames")
	}
	return nil
}

func (c *conn) reply(kind http2.FrameType, flags http2.Flags, payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frame(kind, flags, 0, payload)
}

func (c *conn) data(flags http2.Flags, stream uint32, payload []byte) error {
	if flags.Has(http2.FlagDataPadded) {
		return errors.New("the server sent a padded frame")
	}
	c.mu.Lock()
	call := c.calls[stream]
	c.unread += len(payload)
	c.acknowledge()
	if call != nil {
		if call.unread += len(payload); call.unread >= streamWindow/2 {
			c.windowUpdate(stream, call.unread)
			call.unread = 0
		}
	}
	c.mu.Unlock()
	if call == nil {
		return nil
	}
	if err := call.take(payload); err != nil {
		return err
	}
	if flags.Has(http2.FlagDataEndStream) {
		return c.end(stream, errors.New("the server ended the call without a status"))
	}
	return nil
}

// acknowledge tells the server of the bytes that were read when there are many, and when it
// pings. grpc-go pings after data, unless an answer is due, to learn how much is under way.
// The caller has the lock.
func (c *conn) acknowledge() {
	if c.pinged && c.unread < connWindow/2 {
		return
	}
	if c.unread > 0 {
		c.windowUpdate(0, c.unread)
		c.unread = 0
	}
	if !c.pinged {
		c.pinged = true
		c.frame(http2.FramePing, 0, 0, pingData[:])
	}
}

var pingData [8]byte

// take passes on the messages that are complete with payload.
func (c *call) take(payload []byte) error {
	if len(c.partial) > 0 {
		c.partial = append(c.partial, payload...)
		payload = c.partial
	}
	size := 0
	for len(payload) >= messageHead {
		if payload[0] != 0 {
			return errors.New("the server sent a compressed message")
		}
		size = messageHead + int(binary.BigEndian.Uint32(payload[1:]))
		if len(payload) < size {
			break
		}
		if c.message != nil {
			if err := c.message(payload[messageHead:size]); err != nil {
				return err
			}
		}
		payload = payload[size:]
	}
	if len(payload) == 0 {
		c.partial = nil
		return nil
	}
	c.partial = append(c.partial[:0], payload...)
	c.partial = slices.Grow(c.partial, max(0, size-len(c.partial)))
	return nil
}

func (c *conn) headers(flags http2.Flags, stream uint32, payload []byte) error {
	if !flags.Has(http2.FlagHeadersEndHeaders) || flags.Has(http2.FlagHeadersPadded) || flags.Has(http2.FlagHeadersPriority) {
		return errors.New("the server sent a header in several frames, padded or with a priority")
	}
	c.answer = header{}
	if _, err := c.decoder.Write(payload); err != nil {
		return err
	}
	if err := c.decoder.Close(); err != nil {
		return err
	}
	if !flags.Has(http2.FlagHeadersEndStream) {
		return nil
	}
	if c.answer.status != "0" {
		return c.end(stream, fmt.Errorf("the server answered HTTP %q, gRPC %q: %s", c.answer.http, c.answer.status, c.answer.message))
	}
	return c.end(stream, nil)
}

// field receives a field of a header or trailer.
func (c *conn) field(f hpack.HeaderField) {
	switch f.Name {
	case ":status":
		c.answer.http = f.Value
	case "grpc-status":
		c.answer.status = f.Value
	case "grpc-message":
		c.answer.message = f.Value
	}
}

func (c *conn) end(stream uint32, err error) error {
	c.mu.Lock()
	call := c.calls[stream]
	delete(c.calls, stream)
	c.mu.Unlock()
	if call == nil {
		return nil
	}
	return call.ended(err)
}
