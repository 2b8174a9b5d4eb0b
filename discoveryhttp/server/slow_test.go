package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
)

// fill returns a store whose cluster "c" has n affiliates of size bytes of data and 3
// endpoints each.
func fill(t *testing.T, n, size int) *store.Memory {
	t.Helper()
	s := store.NewMemory(store.Limits{})
	for i := range n {
		storetest.Update(t, s, "c", fmt.Sprintf("%06d", i), strings.Repeat("x", size), storetest.In(30), strings.Repeat("e", 32), strings.Repeat("f", 32), strings.Repeat("g", 32))
	}
	return s
}

// stuckClient speaks HTTP/2 by hand and gives the server no window, so that it takes nothing.
type stuckClient struct {
	t      *testing.T
	conn   net.Conn
	framer *http2.Framer
	next   uint32
}

// newStuckClient connects with a window for each stream, in bytes.
func newStuckClient(t *testing.T, address string, window uint32) *stuckClient {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return newStuckClientOn(t, conn, window)
}

func newStuckClientOn(t *testing.T, conn net.Conn, window uint32) *stuckClient {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := &stuckClient{t, conn, http2.NewFramer(conn, conn), 1}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}); err != nil {
		t.Fatal(err)
	}
	return c
}

// call calls a method and returns the stream.
func (c *stuckClient) call(procedure, contentType string, m proto.Message) (stream uint32) {
	c.t.Helper()
	stream, err := c.try(procedure, contentType, m)
	if err != nil {
		c.t.Fatal(err)
	}
	return stream
}

// try is call on a connection that the server may have closed.
func (c *stuckClient) try(procedure, contentType string, m proto.Message, fields ...hpack.HeaderField) (stream uint32, err error) {
	var header bytes.Buffer
	encoder := hpack.NewEncoder(&header)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", procedure}, {":authority", "c"}, {"content-type", contentType}, {"te", "trailers"}} {
		err = errors.Join(err, encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	for _, f := range fields {
		err = errors.Join(err, encoder.WriteField(f))
	}
	stream = c.next
	c.next += 2
	wire, encodeErr := proto.Marshal(m)
	return stream, errors.Join(err, encodeErr,
		c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: header.Bytes(), EndHeaders: true}),
		c.framer.WriteData(stream, true, append([]byte{0, 0, 0, 0, byte(len(wire))}, wire...)))
}

// await reads frames until f reports that it has seen what it waits for. It returns false
// when the server has closed the connection.
func (c *stuckClient) await(f func(http2.Frame) bool) bool {
	c.t.Helper()
	for {
		frame, err := c.framer.ReadFrame()
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			c.t.Fatal("the server does nothing")
		}
		if err != nil {
			return false
		}
		if s, ok := frame.(*http2.SettingsFrame); ok && !s.IsAck() {
			if err := c.framer.WriteSettingsAck(); err != nil {
				return false
			}
		}
		if p, ok := frame.(*http2.PingFrame); ok && !p.IsAck() {
			if err := c.framer.WritePing(true, p.Data); err != nil {
				return false
			}
		}
		if f(frame) {
			return true
		}
	}
}

func never(http2.Frame) bool { return false }

// quickly ends readers that take nothing soon.
func quickly(o *server.Options) { o.Limits.Send = 200 * time.Millisecond }

func keeping(s *store.Memory) func(*server.Options) {
	return func(o *server.Options) { o.Store = s }
}

// TestReaderWithoutWindow watches and lists a large cluster, and a small one that changes,
// and takes nothing.
func TestReaderWithoutWindow(t *testing.T) {
	kept := fill(t, 1024, 2048)
	storetest.Update(t, kept, "small", "a", "1", storetest.In(30))
	address := serveGRPC(t, quickly, keeping(kept))
	for name, call := range map[string]func(c *stuckClient){
		"a watch": func(c *stuckClient) {
			c.call(serverpbconnect.ClusterWatchProcedure, "application/grpc", &serverpb.WatchRequest{ClusterId: "c"})
		},
		"a watch of a small cluster": func(c *stuckClient) {
			c.call(serverpbconnect.ClusterWatchProcedure, "application/grpc", &serverpb.WatchRequest{ClusterId: "small"})
		},
		"a list": func(c *stuckClient) {
			c.call(serverpbconnect.ClusterListProcedure, "application/grpc", &serverpb.ListRequest{ClusterId: "c"})
		},
	} {
		for _, window := range []uint32{0, 1000} {
			t.Run(fmt.Sprintf("%s, window %d", name, window), func(t *testing.T) {
				if window > 0 && strings.Contains(name, "small") {
					window = 3
				}
				c := newStuckClient(t, address, window)
				call(c)
				if c.await(never) {
					t.Error("the connection is open")
				}
			})
		}
	}
	until(t, func() bool { return kept.Stats().Watchers == 0 })
}

// TestProxyKeepsItsConnectionWhenOneReaderIsStuck has a stuck call and others on one
// connection of a trusted proxy.
func TestProxyKeepsItsConnectionWhenOneReaderIsStuck(t *testing.T) {
	kept := fill(t, 1024, 2048)
	address := serveGRPC(t, quickly, keeping(kept), trusting("127.0.0.0/8"))
	c := newStuckClient(t, address, 0)
	c.call(serverpbconnect.ClusterWatchProcedure, "application/grpc", &serverpb.WatchRequest{ClusterId: "c"})
	until(t, func() bool { return kept.Stats().Watchers == 1 })
	until(t, func() bool { return kept.Stats().Watchers == 0 })
	// Trailers need no window.
	stream := c.call(serverpbconnect.ClusterHelloProcedure, "application/grpc", &serverpb.HelloRequest{})
	if !c.await(func(f http2.Frame) bool { return f.Header().StreamID == stream }) {
		t.Error("the connection is closed")
	}
	t.Run("until there is much", func(t *testing.T) {
		for range 5 {
			c.call(serverpbconnect.ClusterWatchProcedure, "application/grpc", &serverpb.WatchRequest{ClusterId: "c"})
		}
		if c.await(never) {
			t.Error("the connection is open")
		}
	})
}

// TestStuckReaderOfConnect takes nothing over HTTP/2 and HTTP/1.1.
func TestStuckReaderOfConnect(t *testing.T) {
	kept := fill(t, 1024, 2048)
	url, _ := start(t, keeping(kept), quickly)
	address := strings.TrimPrefix(url, "http://")
	t.Run("HTTP/2", func(t *testing.T) {
		c := newStuckClient(t, address, 0)
		stream := c.call(serverpbconnect.ClusterWatchProcedure, "application/connect+proto", &serverpb.WatchRequest{ClusterId: "c"})
		if !c.await(func(f http2.Frame) bool {
			_, reset := f.(*http2.RSTStreamFrame)
			return reset && f.Header().StreamID == stream
		}) {
			t.Error("the connection is closed, and others may use it")
		}
	})
	t.Run("HTTP/1.1", func(t *testing.T) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		body := "\x00\x00\x00\x00\x03\x0a\x01c"
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: c\r\nContent-Type: application/connect+proto\r\nContent-Length: %d\r\n\r\n%s",
			serverpbconnect.ClusterWatchProcedure, len(body), body); err != nil {
			t.Fatal(err)
		}
		until(t, func() bool { return kept.Stats().Watchers == 1 })
		until(t, func() bool { return kept.Stats().Watchers == 0 })
	})
}

// until waits until something is so.
func until(t *testing.T, isSo func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !isSo() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal("it does not become so")
		}
	}
}

// TestManyStuckReadersShareOneSnapshot has 200 watches of 2 MB that take nothing, each of
// another state of the cluster.
func TestManyStuckReadersShareOneSnapshot(t *testing.T) {
	kept := fill(t, 1024, 2048)
	address := serveGRPC(t, keeping(kept))
	resident := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := resident()
	c := newStuckClient(t, address, 0)
	for i := range 200 {
		storetest.Update(t, kept, "c", "000000", fmt.Sprint(i), storetest.In(30))
		stream := c.call(serverpbconnect.ClusterWatchProcedure, "application/grpc", &serverpb.WatchRequest{ClusterId: "c"})
		if !c.await(func(f http2.Frame) bool { return f.Header().StreamID == stream }) {
			t.Fatal("the connection is closed")
		}
	}
	if used := int64(resident()) - int64(before); used > 24<<20 {
		t.Errorf("200 watches that take nothing have %d MiB", used>>20)
	}
	if got := kept.Stats().Watchers; got != 200 {
		t.Errorf("%d watches are open, want 200", got)
	}
}

// TestLargeClusterWithADefaultClient watches and lists 10,000 affiliates of 4.5 MB with the
// limits of a default client, which takes messages of 4 MiB.
func TestLargeClusterWithADefaultClient(t *testing.T) {
	kept := fill(t, 10_000, 340)
	conn := dial(t, serveGRPC(t, keeping(kept)))
	watch, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, serverpbconnect.ClusterWatchProcedure)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(watch.SendMsg(&serverpb.WatchRequest{ClusterId: "c"}), watch.CloseSend()); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for messages, more := 0, true; more; messages++ {
		var m serverpb.WatchResponse
		if err := watch.RecvMsg(&m); err != nil {
			t.Fatalf("message %d: %v", messages, err)
		}
		for _, a := range m.GetAffiliates() {
			seen[a.GetId()] = true
		}
		more = m.GetMore()
	}
	if len(seen) != 10_000 {
		t.Errorf("the snapshot has %d affiliates", len(seen))
	}
	err = conn.Invoke(t.Context(), serverpbconnect.ClusterListProcedure, &serverpb.ListRequest{ClusterId: "c"}, new(serverpb.ListResponse))
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "use Watch") {
		t.Errorf("list: %v", err)
	}
	t.Run("by Connect", func(t *testing.T) {
		url, _ := start(t, keeping(kept))
		for name, client := range protocols(t, url) {
			if strings.HasPrefix(name, "gRPC") && !strings.HasPrefix(name, "gRPC-Web") {
				continue
			}
			list, err := client.List(t.Context(), connect.NewRequest(&serverpb.ListRequest{ClusterId: "c"}))
			if err != nil || len(list.Msg.GetAffiliates()) != 10_000 {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestLargeList lists a cluster of 2 MB.
func TestLargeList(t *testing.T) {
	conn := dial(t, serveGRPC(t, keeping(fill(t, 1000, 2000))))
	for range 3 {
		var list serverpb.ListResponse
		if err := conn.Invoke(t.Context(), serverpbconnect.ClusterListProcedure, &serverpb.ListRequest{ClusterId: "c"}, &list); err != nil || len(list.GetAffiliates()) != 1000 {
			t.Errorf("%d affiliates, %v", len(list.GetAffiliates()), err)
		}
	}
}

// TestIdleReaderIsNotSlow has a stream and a connection that are idle for longer than a
// reader may take nothing.
func TestIdleReaderIsNotSlow(t *testing.T) {
	url, _ := start(t, quickly)
	client := serverpbconnect.NewClusterClient(http.DefaultClient, url)
	stream, err := client.Watch(t.Context(), connect.NewRequest(&serverpb.WatchRequest{ClusterId: "c"}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	for i := range 5 {
		<-time.After(100 * time.Millisecond)
		if _, err := client.Hello(t.Context(), connect.NewRequest(&serverpb.HelloRequest{ClusterId: "c"})); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	if _, err := client.AffiliateUpdate(t.Context(), updateRequest("c", "a", "x")); err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() {
		t.Errorf("the stream ended: %v", stream.Err())
	}
}

// TestUntakenAnswersEndAConnection has a client make calls that are over at once, and take none of
// the answers.
func TestUntakenAnswersEndAConnection(t *testing.T) {
	const calls = 20
	for procedure, request := range map[string]proto.Message{
		serverpbconnect.ClusterHelloProcedure:           &serverpb.HelloRequest{ClusterId: "c"},
		serverpbconnect.ClusterAffiliateUpdateProcedure: &serverpb.AffiliateUpdateRequest{ClusterId: "c", AffiliateId: "a"},
		serverpbconnect.ClusterAffiliateDeleteProcedure: &serverpb.AffiliateDeleteRequest{ClusterId: "c", AffiliateId: "a"},
		serverpbconnect.ClusterListProcedure:            &serverpb.ListRequest{ClusterId: "c"},
	} {
		t.Run(procedure, func(t *testing.T) {
			c := newStuckClient(t, serveGRPC(t, quickly), 0)
			for range calls {
				c.call(procedure, "application/grpc", request)
			}
			if c.await(never) {
				t.Error("the connection stays open")
			}
		})
	}
}
