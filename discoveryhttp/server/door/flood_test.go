package door_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
)

const (
	// floodFrames is how many frames a flood sends at most, and floodTime for how long.
	floodFrames = 20_000
	floodTime   = 3 * time.Second
	// floodMemory is how much the server's heap may grow by in a flood, in bytes, and
	// floodGoroutines by how many goroutines it may do so.
	floodMemory, floodGoroutines = 32 << 20, 2500
)

// discovery runs the discovery server on loopback until the test ends.
func discovery(t *testing.T) entrance {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	o := server.Options{Limits: server.DefaultLimits(), Log: slog.New(slog.DiscardHandler)}
	o.Limits.PerAddress = server.Rate{}
	o.Store = store.NewMemory(o.Limits.Store)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, []net.Listener{listener}, nil, o) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	return entrance{address: listener.Addr().String()}
}

// flood is an attack by the frames of one connection.
type flood struct {
	// send sends some frames; i is the number of the call.
	send func(c client, i int) error
	// reads is set if the attacker reads what the server answers.
	reads bool
}

// floods have attacks that cost the attacker no memory. watch is the compressed headers of a
// call.
func floods(t *testing.T, watch []byte) map[string]flood {
	begin := func(c client, i int, end bool) error {
		return c.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 3), BlockFragment: watch, EndHeaders: true, EndStream: end})
	}
	// long is a header field that each further request of the connection names in one byte.
	long := headers(t, "x", strings.Repeat("x", 3000))
	reset := func(c client, i int) error {
		return errors.Join(begin(c, i, false), c.WriteRSTStream(uint32(2*i+3), http2.ErrCodeCancel))
	}
	return map[string]flood{
		"rapid reset":                 {reset, true},
		"rapid reset, answers unread": {reset, false},
		// The window is larger than HTTP/2 allows.
		"streams that the server must reset": {func(c client, i int) error {
			return errors.Join(begin(c, i, false), c.WriteWindowUpdate(uint32(2*i+3), 1<<31-1))
		}, false},
		"open streams":  {func(c client, i int) error { return begin(c, i, false) }, true},
		"ended streams": {func(c client, i int) error { return begin(c, i, true) }, true},
		"SETTINGS":      {func(c client, _ int) error { return c.WriteSettings() }, false},
		"SETTINGS, changed": {func(c client, i int) error {
			return c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
		}, true},
		"PING":            {func(c client, _ int) error { return c.WritePing(false, [8]byte{}) }, false},
		"PING, read":      {func(c client, _ int) error { return c.WritePing(false, [8]byte{}) }, true},
		"acknowledgments": {func(c client, _ int) error { return c.WriteSettingsAck() }, true},
		"PRIORITY": {func(c client, i int) error {
			return c.WritePriority(uint32(2*i+1001), http2.PriorityParam{StreamDep: uint32(2*i + 1003)})
		}, true},
		"WINDOW_UPDATE": {func(c client, _ int) error { return c.WriteWindowUpdate(0, 1) }, true},
		"empty DATA":    {func(c client, _ int) error { return c.WriteData(1, false, nil) }, true},
		"unknown":       {func(c client, _ int) error { return c.WriteRawFrame(0xbe, 0, 0, make([]byte, 16<<10)) }, true},
		"CONTINUATION": {func(c client, i int) error {
			if i == 0 {
				return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: watch})
			}
			return c.WriteContinuation(3, false, headers(t, "x-more", strings.Repeat("x", 1000)))
		}, true},
		"empty CONTINUATION": {func(c client, i int) error {
			if i == 0 {
				return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: watch})
			}
			return c.WriteContinuation(3, false, nil)
		}, true},
		"headers that unfold": {func(c client, i int) error {
			block := append([]byte(nil), watch...)
			if i == 0 {
				block = append(block, long...)
			}
			for range 8000 {
				block = append(block, 0x80|62)
			}
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 3), BlockFragment: block, EndHeaders: true})
		}, true},
	}
}

// TestFloods sends floods of frames on connections of both servers. The server's memory stays
// bounded while the connection is open, if it lets it be, and others are served.
func TestFloods(t *testing.T) {
	for _, contentType := range []string{"application/grpc", "application/connect+proto"} {
		watch := headers(t, ":method", "POST", ":scheme", "http", ":path", serverpbconnect.ClusterWatchProcedure, ":authority", "door",
			"content-type", contentType, "te", "trailers")
		for name, flood := range floods(t, watch) {
			t.Run(contentType+" "+name, func(t *testing.T) {
				e := discovery(t)
				hello(t, e)
				heap, goroutines := usage()
				c := e.dialHTTP2(t)
				if flood.reads {
					go func() { _, _ = io.Copy(io.Discard, c.Conn) }()
				}
				must(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: watch, EndHeaders: true}))
				sent := 0
				var err error
				for started := time.Now(); sent < floodFrames && err == nil && time.Since(started) < floodTime; sent++ {
					err = flood.send(c, sent)
				}
				hello(t, e)
				heapAfter, goroutinesAfter := usage()
				t.Logf("%d frames, then %v: heap %+d KiB, goroutines %+d", sent, err, (heapAfter-heap)>>10, goroutinesAfter-goroutines)
				if heapAfter-heap > floodMemory {
					t.Errorf("the heap grew by %d MiB", (heapAfter-heap)>>20)
				}
				if goroutinesAfter-goroutines > floodGoroutines {
					t.Errorf("there are %d more goroutines", goroutinesAfter-goroutines)
				}
			})
		}
	}
}

// usage returns the bytes of the heap that are in use and the number of goroutines.
func usage() (heap int64, goroutines int) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), runtime.NumGoroutine()
}

// hello calls the server as an honest client does.
func hello(t *testing.T, e entrance) {
	t.Helper()
	conn, err := grpc.NewClient(e.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, conn.Invoke(ctx, serverpbconnect.ClusterHelloProcedure, &serverpb.HelloRequest{ClusterId: "c"}, &serverpb.HelloResponse{}))
}
