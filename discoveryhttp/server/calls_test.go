package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
)

const callsOfAddress = 5

// fewCalls lets an address have callsOfAddress calls.
func fewCalls(o *server.Options) { o.Limits.CallsPerAddress = callsOfAddress }

// patient never closes the connection of a client that takes nothing.
func patient(o *server.Options) { o.Limits.Send = time.Hour }

// TestTooManyCallsOfAnAddress leaves answers untaken on two connections.
func TestTooManyCallsOfAnAddress(t *testing.T) {
	address, s := serverOf(t, fewCalls, patient)
	first, second := newStuckClient(t, address, 0), newStuckClient(t, address, 0)
	for range callsOfAddress {
		first.call(serverpbconnect.ClusterHelloProcedure, "application/grpc", &serverpb.HelloRequest{ClusterId: "c"})
	}
	until(t, func() bool { return s.OpenCalls() == callsOfAddress })
	second.call(serverpbconnect.ClusterHelloProcedure, "application/grpc", &serverpb.HelloRequest{ClusterId: "c"})
	if second.await(never) {
		t.Error("the connection with one call too many is open")
	}
	_ = first.conn.Close()
	until(t, func() bool { return s.OpenCalls() == 0 })
}

// TestTooManyCallsOfAll leaves answers untaken until all may have no more, and then calls on a
// connection that takes what it is sent.
func TestTooManyCallsOfAll(t *testing.T) {
	few := func(o *server.Options) { o.Limits.CallsPerAddress, o.Limits.Calls = 0, callsOfAddress }
	address, s := serverOf(t, few, patient)
	hello := func(c *stuckClient) uint32 {
		return c.call(serverpbconnect.ClusterHelloProcedure, "application/grpc", &serverpb.HelloRequest{ClusterId: "c"})
	}
	full := newStuckClient(t, address, 0)
	for range callsOfAddress {
		hello(full)
	}
	until(t, func() bool { return s.OpenCalls() == callsOfAddress })
	reads := newStuckClient(t, address, 1<<20)
	for range 20 {
		stream := hello(reads)
		if !reads.await(func(f http2.Frame) bool { return f.Header().StreamID == stream }) {
			t.Fatal("the connection that takes refusals is closed")
		}
	}
	if open := s.OpenCalls(); open != callsOfAddress {
		t.Errorf("%d calls are open, want %d", open, callsOfAddress)
	}
}

// TestCallsThatAreOver makes calls of every kind, more than an address may have at a time.
func TestCallsThatAreOver(t *testing.T) {
	answered := func(c *stuckClient, stream uint32) {
		if !c.await(func(f http2.Frame) bool { return f.Header().StreamID == stream }) {
			t.Error("the connection is closed")
		}
	}
	for name, call := range map[string]func(c *stuckClient) uint32{
		"answered": func(c *stuckClient) uint32 {
			return c.call(serverpbconnect.ClusterHelloProcedure, "application/grpc", &serverpb.HelloRequest{ClusterId: "c"})
		},
		"listed": func(c *stuckClient) uint32 {
			return c.call(serverpbconnect.ClusterListProcedure, "application/grpc", &serverpb.ListRequest{ClusterId: "c"})
		},
		"refused": func(c *stuckClient) uint32 {
			return c.call(serverpbconnect.ClusterHelloProcedure, "application/grpc", &serverpb.HelloRequest{})
		},
		"refused streams": func(c *stuckClient) uint32 {
			return c.call(serverpbconnect.ClusterWatchProcedure, "application/grpc", &serverpb.WatchRequest{})
		},
		"reset": func(c *stuckClient) uint32 {
			stream := c.call(serverpbconnect.ClusterWatchProcedure, "application/grpc", &serverpb.WatchRequest{ClusterId: "c"})
			answered(c, stream)
			if err := c.framer.WriteRSTStream(stream, http2.ErrCodeCancel); err != nil {
				t.Error(err)
			}
			return 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			address, s := serverOf(t, fewCalls, patient)
			c := newStuckClient(t, address, 1<<20)
			for range 4 * callsOfAddress {
				if stream := call(c); stream != 0 {
					answered(c, stream)
				}
				until(t, func() bool { return s.OpenCalls() == 0 })
			}
		})
	}
}

// TestTooManyCallsOverHTTP has the calls of an address taken by gRPC, and calls by Connect.
func TestTooManyCallsOverHTTP(t *testing.T) {
	address, s := serverOf(t, fewCalls, patient)
	c := newStuckClient(t, address, 0)
	for range callsOfAddress {
		c.call(serverpbconnect.ClusterHelloProcedure, "application/grpc", &serverpb.HelloRequest{ClusterId: "c"})
	}
	until(t, func() bool { return s.OpenCalls() == callsOfAddress })
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, serverpbconnect.ClusterHelloProcedure, strings.NewReader(`{"clusterId":"c"}`))
	request.Header.Set("Content-Type", "application/json")
	request.RemoteAddr = address
	response := httptest.NewRecorder()
	s.Handler().ServeHTTP(response, request)
	if response.Code != http.StatusTooManyRequests {
		t.Errorf("status %d, want %d", response.Code, http.StatusTooManyRequests)
	}
}
