package attack

import (
	"context"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// pagePaths are what a browser, Prometheus and a probe ask for.
var pagePaths = []string{"/page/page.js", "/page/data?span=day", "/", "/metrics", "/healthz", "/nowhere"}

// pages are attacks by those who ask for pages, and do not take them.
func pages() []Attack {
	return []Attack{
		{Name: "pages", Most: 128, Flags: []string{"--page", "public"}, run: unreadPages(100, 900),
			What: "900 requests for the page, its parts, the metrics and probes on each of 100 connections, with an HTTP/2 window of 0"},
		{Name: "pages-addresses", Many: true, Most: 256, Flags: []string{"--page", "public"}, run: unreadPages(100, 900),
			What: "the same, each connection from its own address"},
	}
}

// get sends a request without a body.
func (c *h2) get(stream uint32, path string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header.Reset()
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: path},
		{Name: ":authority", Value: "discovery"}, {Name: "accept", Value: "text/html"},
	} {
		_ = c.encode.WriteField(f) // a bytes.Buffer takes everything
	}
	return c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.header.Bytes(), EndHeaders: true, EndStream: true})
}

// unreadPages asks for pages on connections that never open their window, over and over.
func unreadPages(connections, streams int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
			c, err := a.dialH2(ctx, i, http2.Setting{ID: http2.SettingInitialWindowSize})
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			for k := range streams {
				if err := c.get(uint32(2*k+1), pagePaths[k%len(pagePaths)]); err != nil {
					return err
				}
			}
			begun()
			return c.read(streams)
		})
	}
}
