package attack

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http2/hpack"

	"github.com/spanmesh/span/e2e/internal/wire"
)

// content are attacks by what requests contain.
func content() []Attack {
	const most = 192
	return []Attack{
		{Name: "large-ids", Most: most, run: calls(func(c *h2, stream uint32) error {
			return c.call(stream, "AffiliateUpdate", wire.TypeGRPC, wire.Framed(0, wire.UpdateRequest(strings.Repeat("c", 15_000), "a", lifetime, nil)))
		}), What: "updates whose cluster ID has 15 KB"},
		{Name: "large-paths", Most: most, run: calls(func(c *h2, stream uint32) error {
			return c.call(stream, strings.Repeat("p", 15_000), wire.TypeGRPC, nil)
		}), What: "gRPC calls of methods whose name has 15 KB"},
		{Name: "huge-messages", Most: most, run: calls(func(c *h2, stream uint32) error {
			return c.call(stream, "AffiliateUpdate", wire.TypeGRPC, append([]byte{0, 0xff, 0xff, 0xff, 0xff}, make([]byte, 1000)...))
		}), What: "gRPC messages that announce 4 GiB"},
		{Name: "huge-messages-connect", Most: most, run: calls(func(c *h2, stream uint32) error {
			return c.call(stream, "Watch", wire.TypeConnect, append([]byte{0, 0xff, 0xff, 0xff, 0xff}, make([]byte, 1000)...))
		}), What: "Connect messages that announce 4 GiB"},
		{Name: "gzip-grpc", Most: most, run: calls(func(c *h2, stream uint32) error {
			return c.call(stream, "AffiliateUpdate", wire.TypeGRPC, wire.Framed(1, bomb), hpack.HeaderField{Name: "grpc-encoding", Value: "gzip"})
		}), What: "gRPC messages of 10 KB that are 10 MiB when they are decompressed"},
		{Name: "gzip-connect", Most: most, run: calls(func(c *h2, stream uint32) error {
			return c.call(stream, "Watch", wire.TypeConnect, wire.Framed(1, bomb), hpack.HeaderField{Name: "connect-content-encoding", Value: "gzip"})
		}), What: "the same in Connect"},
		{Name: "gzip-json", Most: most, run: posts(wire.TypeJSON, "gzip", bomb),
			What: "the same in JSON by HTTP/1.1"},
		{Name: "deep-json", Most: most, run: posts(wire.TypeJSON, "", []byte(strings.Repeat(`{"a":`, 2000))),
			What: "JSON that nests 2,000 deep"},
		{Name: "many-endpoints", Most: most, run: calls(func(c *h2, stream uint32) error {
			return c.call(stream, "AffiliateUpdate", wire.TypeGRPC, wire.Framed(0, wire.UpdateRequest("c", "a", lifetime, nil, make([][]byte, 5000)...)))
		}), What: "updates with 5,000 endpoints of no length"},
		{Name: "made-up-methods", Most: most, run: madeUpMethods(),
			What: "calls of methods that do not exist, each with another name"},
	}
}

// bomb is 10 MiB of zeros, compressed.
var bomb = func() []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(make([]byte, 10<<20)) // a bytes.Buffer takes everything
	_ = w.Close()
	return out.Bytes()
}()

const (
	// contentConnections is the number of connections of attacks by content.
	contentConnections = 16
	// inFlight is how many of its calls are unanswered at once. A connection's window of
	// 64 KB takes their bodies.
	inFlight = 4
)

// calls makes calls on connections until the server closes these.
func calls(send func(c *h2, stream uint32) error) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, contentConnections, func(ctx context.Context, i int, begun func()) error {
			c, err := a.dialH2(ctx, i)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			for stream := uint32(1); stream < maxStream; {
				for range inFlight {
					if err := send(c, stream); err != nil {
						return err
					}
					stream += 2
				}
				// The server's windows open again while it is read.
				if err := c.read(inFlight); !errors.Is(err, errEnded) {
					return err
				}
				if err := c.refill(); err != nil {
					return err
				}
				begun()
			}
			return errEnded
		})
	}
}

// refill lets the server send as much again as it may have sent.
func (c *h2) refill() error { return c.frames.WriteWindowUpdate(0, 1<<14) }

// httpClient returns a client of HTTP/1.1.
func (a *attacker) httpClient(i int) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return a.connect(context.WithoutCancel(ctx), i, 0)
		},
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}}
}

// posts sends a body over and over.
func posts(contentType, encoding string, body []byte) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, contentConnections, func(ctx context.Context, i int, begun func()) error {
			c := a.httpClient(i)
			defer c.CloseIdleConnections()
			for {
				if err := post(ctx, c, "http://"+a.address+wire.Service+"AffiliateUpdate", contentType, encoding, body); err != nil {
					return err
				}
				begun()
			}
		})
	}
}

func post(ctx context.Context, c *http.Client, url, contentType, encoding string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", contentType)
	if encoding != "" {
		request.Header.Set("Content-Encoding", encoding)
	}
	response, err := c.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// madeUpMethods calls methods that do not exist, by gRPC and by HTTP/1.1.
func madeUpMethods() func(context.Context, *attacker) error {
	var n atomic.Int64
	name := func() string { return fmt.Sprintf("Method%d", n.Add(1)) }
	grpc := calls(func(c *h2, stream uint32) error {
		return c.call(stream, name(), wire.TypeGRPC, wire.Framed(0, wire.ClusterRequest("c")))
	})
	return func(ctx context.Context, a *attacker) error {
		ended := make(chan error, 1)
		go func() { ended <- grpc(ctx, a) }()
		c := a.httpClient(0)
		defer c.CloseIdleConnections()
		for ctx.Err() == nil {
			if err := post(ctx, c, "http://"+a.address+wire.Service+name(), wire.TypeJSON, "", []byte("{}")); err != nil && !Pause(ctx, retryAfter) {
				break
			}
		}
		return <-ended
	}
}
