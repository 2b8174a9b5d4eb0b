package attack

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/net/http2"

	"github.com/spanmesh/span/e2e/internal/wire"
)

// slow are attacks by connections that cost the attacker nothing.
func slow() []Attack {
	return []Attack{
		{Name: "slow-headers", Most: 128, run: slowHeaders(2000),
			What: "2,000 connections that send a header a byte each second: HTTP/1.1, the preface of HTTP/2, its HEADERS"},
		{Name: "slow-headers-addresses", Many: true, Most: 128, run: slowHeaders(5000),
			What: "5,000 of them, each from its own address"},
		{Name: "idle", Most: 128, run: idle(5000),
			What: "5,000 connections that send nothing, the preface of HTTP/2 alone, or one call and then nothing"},
		{Name: "idle-addresses", Many: true, Most: 256, run: idle(10_000),
			What: "10,000 of them, each from its own address"},
		{Name: "idle-tls", TLS: true, Most: 128, run: halfHandshakes(5000),
			What: "5,000 connections that stop within the TLS handshake"},
		{Name: "handshakes", TLS: true, Most: 128, run: handshakes(64),
			What: "64 connections at once that end after the TLS handshake and begin again"},
		{Name: "slow-bodies", Most: 128, run: slowBodies(10, 900),
			What: "900 gRPC calls on each of 10 connections, of which each may have 250, that announce a message and send some bytes of it"},
		{Name: "slow-bodies-http1", Many: true, Most: 128, run: slowPosts(2000),
			What: "2,000 addresses that send the body of a POST a byte each second"},
	}
}

// drip sends a text a byte each second, and starts again at from when it is over.
func drip(ctx context.Context, w io.Writer, text string, from int) error {
	for i := 0; Pause(ctx, time.Second); i++ {
		if i == len(text) {
			i = from
		}
		if _, err := w.Write([]byte{text[i]}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// slowHeaders sends headers of three kinds.
func slowHeaders(connections int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
			conn, err := a.dial(ctx, i)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			begun()
			switch i % 3 {
			case 0:
				const start = "POST / HTTP/1.1\r\nHost: discovery\r\n"
				return drip(ctx, conn, start+"X-A: b\r\n", len(start))
			case 1:
				return drip(ctx, conn, http2.ClientPreface, 0)
			}
			c, err := newH2(conn)
			if err != nil {
				return err
			}
			if err := c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1}); err != nil {
				return err
			}
			// A literal header without indexing, of 255 bytes, RFC 7541, section 6.2.2.
			value := "\x00\x01a\x7f\x80\x01" + string(make([]byte, 255))
			for i := 0; Pause(ctx, time.Second); i++ {
				if err := c.frames.WriteContinuation(1, false, []byte{value[i%len(value)]}); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
}

// idle opens connections and keeps them.
func idle(connections int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
			conn, err := a.dial(ctx, i)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			if i%3 > 0 {
				c, err := newH2(conn)
				if err != nil {
					return err
				}
				if i%3 == 2 {
					if err := c.call(1, "Hello", wire.TypeGRPC, wire.Framed(0, wire.ClusterRequest("idle"))); err != nil {
						return err
					}
				}
			}
			begun()
			_, err = io.Copy(io.Discard, conn)
			return err
		})
	}
}

// halfHandshakes sends the first bytes of a ClientHello, or nothing.
func halfHandshakes(connections int) func(context.Context, *attacker) error {
	// A handshake record of 512 bytes, of which the first bytes follow.
	hello := []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
			conn, err := a.connect(ctx, i, 0)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			if i%2 == 0 {
				if _, err := conn.Write(hello); err != nil {
					return err
				}
			}
			begun()
			_, err = io.Copy(io.Discard, conn)
			return err
		})
	}
}

// handshakes makes TLS connections and closes them.
func handshakes(connections int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, connections, func(ctx context.Context, i int, begun func()) error {
			for {
				conn, err := a.dial(ctx, i)
				if err != nil {
					return err
				}
				begun()
				if err := conn.Close(); err != nil {
					return err
				}
			}
		})
	}
}

// announced is the length of a message that slowBodies announces, in bytes. The server
// takes messages of this size.
const announced = 7000

// slowBodies begins calls, and does not end them.
func slowBodies(connections, streams int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
			c, err := a.dialH2(ctx, i)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			// All of it fits in the window of a connection, 64 KB.
			start := wire.Framed(0, make([]byte, announced))[:60]
			for k := range streams {
				if err := c.begin(uint32(2*k+1), "AffiliateUpdate", wire.TypeGRPC); err != nil {
					return err
				}
				if err := c.data(uint32(2*k+1), false, start); err != nil {
					return err
				}
			}
			begun()
			return c.read(streams)
		})
	}
}

// slowPosts sends bodies a byte each second.
func slowPosts(connections int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
			conn, err := a.dial(ctx, i)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			if _, err := fmt.Fprintf(conn, "POST %sList HTTP/1.1\r\nHost: discovery\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", wire.Service, wire.TypeJSON, announced); err != nil {
				return err
			}
			begun()
			return drip(ctx, conn, " ", 0)
		})
	}
}
