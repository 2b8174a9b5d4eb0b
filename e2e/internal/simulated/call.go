package simulated

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"
)

// The settings of the client of discovery (discoveryhttp, transport.go and service.go).
const (
	callTimeout      = 10 * time.Second
	dialTimeout      = 5 * time.Second
	pingAfter        = 15 * time.Second
	pingTimeout      = 10 * time.Second
	windowOfStream   = 512 << 10
	windowOfAll      = 1 << 20
	firstPause       = 250 * time.Millisecond
	longestPause     = 30 * time.Second
	affiliateTTL     = 30 * time.Minute
	serviceProcedure = "/sidero.discovery.server.Cluster/"
)

// caller calls a discovery server by gRPC without TLS.
type caller struct {
	endpoint, token string
	transport       *http.Transport
}

func newCaller(c *Cluster, token string, g *gate) *caller {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &caller{c.Endpoint, token, &http.Transport{
		DialContext:        g.dial,
		Protocols:          protocols,
		DisableCompression: true,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:               pingAfter,
			PingTimeout:                   pingTimeout,
			WriteByteTimeout:              callTimeout,
			MaxReceiveBufferPerStream:     windowOfStream,
			MaxReceiveBufferPerConnection: windowOfAll,
		},
	}}
}

// open sends a request and returns the answer, whose body the caller closes.
func (c *caller) open(ctx context.Context, method string, request proto.Message) (*http.Response, error) {
	message, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint+serviceProcedure+method, bytes.NewReader(frame(message)))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/grpc+proto")
	r.Header.Set("Te", "trailers")
	r.Header.Set("Authorization", "Bearer "+c.token)
	if deadline, has := ctx.Deadline(); has {
		r.Header.Set("Grpc-Timeout", fmt.Sprintf("%dm", time.Until(deadline).Milliseconds()))
	}
	response, err := c.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("%s: the server answers HTTP %s", method, response.Status)
	}
	return response, nil
}

// maxAnswer bounds the answer to a call, in bytes.
const maxAnswer = 64 << 10

// call makes a call whose answer is of no interest.
func (c *caller) call(ctx context.Context, method string, request proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.open(ctx, method, request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)); err != nil {
		return err
	}
	return statusOf(method, response)
}

// statusOf returns the error of a call whose body was read.
func statusOf(method string, r *http.Response) error {
	// Without a body, the status is in the header.
	status := cmp.Or(r.Trailer.Get("Grpc-Status"), r.Header.Get("Grpc-Status"))
	return checkStatus(method, status, cmp.Or(r.Trailer.Get("Grpc-Message"), r.Header.Get("Grpc-Message")))
}
