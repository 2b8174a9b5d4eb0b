package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// TestRequestThatDoesNotArrive sends the headers of calls, and a part of the request of some.
func TestRequestThatDoesNotArrive(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	limits := DefaultLimits()
	limits.MaxWait = 0
	s := New(ctx, Options{Store: store.NewMemory(store.Limits{}), Limits: limits, Log: slog.New(slog.DiscardHandler)})
	s.requestTimeout = 100 * time.Millisecond
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.ServeGRPC(ctx, listener) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	framer := http2.NewFramer(conn, conn)
	_, err = io.WriteString(conn, http2.ClientPreface)
	if err := errors.Join(err, framer.WriteSettings(), conn.SetDeadline(time.Now().Add(20*time.Second))); err != nil {
		t.Fatal(err)
	}
	open := map[uint32]bool{}
	var header bytes.Buffer
	encoder := hpack.NewEncoder(&header)
	for i, procedure := range procedures {
		header.Reset()
		for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", procedure}, {":authority", "c"}, {"content-type", "application/grpc"}} {
			if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
				t.Fatal(err)
			}
		}
		stream := uint32(2*i + 1)
		open[stream] = true
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: header.Bytes(), EndHeaders: true}); err != nil {
			t.Fatal(err)
		}
		if procedure == serverpbconnect.ClusterWatchProcedure {
			// The request is whole, and the client may send another.
			err = framer.WriteData(stream, false, []byte("\x00\x00\x00\x00\x03\x0a\x01c"))
		} else if i%2 == 0 {
			err = framer.WriteData(stream, false, []byte("\x00\x00\x00\x00\x08\x0a"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for len(open) > 0 {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("%d calls are open: %v", len(open), err)
		}
		if h := frame.Header(); h.Flags.Has(http2.FlagHeadersEndStream) && h.Type == http2.FrameHeaders || h.Type == http2.FrameRSTStream {
			delete(open, h.StreamID)
		}
	}
}
