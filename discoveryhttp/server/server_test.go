package server_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// start serves on loopback until the test ends, and returns the URL and what
// stops it before.
func start(t *testing.T) (url string, stop func()) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	kept := store.NewMemory(store.Limits{Affiliates: 3, Endpoints: server.MaxEndpoints})
	go func() { done <- server.Run(ctx, listener, nil, kept, slog.New(slog.DiscardHandler)) }()
	stopped := false
	stop = func() {
		cancel()
		if !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Errorf("the server ended with %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return "http://" + listener.Addr().String(), stop
}

// h2c is a client of HTTP/2 without TLS.
func h2c(t *testing.T) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// protocols are all ways to speak to the server.
func protocols(t *testing.T, url string) map[string]serverpbconnect.ClusterClient {
	return map[string]serverpbconnect.ClusterClient{
		"gRPC":                     serverpbconnect.NewClusterClient(h2c(t), url, connect.WithGRPC()),
		"Connect over HTTP/1.1":    serverpbconnect.NewClusterClient(http.DefaultClient, url),
		"Connect over HTTP/2":      serverpbconnect.NewClusterClient(h2c(t), url),
		"Connect with JSON":        serverpbconnect.NewClusterClient(http.DefaultClient, url, connect.WithProtoJSON()),
		"gRPC-Web over HTTP/1.1":   serverpbconnect.NewClusterClient(http.DefaultClient, url, connect.WithGRPCWeb()),
		"gRPC compressed, in JSON": serverpbconnect.NewClusterClient(h2c(t), url, connect.WithGRPC(), connect.WithProtoJSON(), connect.WithSendGzip()),
	}
}

func updateRequest(cluster, id, data string, endpoints ...[]byte) *connect.Request[serverpb.AffiliateUpdateRequest] {
	return connect.NewRequest(&serverpb.AffiliateUpdateRequest{ClusterId: cluster, AffiliateId: id, AffiliateData: []byte(data),
		AffiliateEndpoints: endpoints, Ttl: durationpb.New(time.Minute)})
}

// TestProtocols goes through the whole service in every protocol.
func TestProtocols(t *testing.T) {
	url, _ := start(t)
	for name, client := range protocols(t, url) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			hello, err := client.Hello(ctx, connect.NewRequest(&serverpb.HelloRequest{ClusterId: name}))
			if err != nil || !bytes.Equal(hello.Msg.GetClientIp(), []byte{127, 0, 0, 1}) || hello.Msg.GetRedirect() != nil {
				t.Fatalf("hello: %v, %v", hello, err)
			}
			stream, err := client.Watch(ctx, connect.NewRequest(&serverpb.WatchRequest{ClusterId: name}))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stream.Close() }()
			receive := func() *serverpb.WatchResponse {
				t.Helper()
				if !stream.Receive() {
					t.Fatalf("the stream ended: %v", stream.Err())
				}
				return stream.Msg()
			}
			if m := receive(); len(m.GetAffiliates()) != 0 || m.GetDeleted() {
				t.Errorf("the snapshot of an empty cluster is %v", m)
			}
			endpoint := make([]byte, 16)
			if _, err := client.AffiliateUpdate(ctx, updateRequest(name, "a", "data", endpoint)); err != nil {
				t.Fatal(err)
			}
			if m := receive(); len(m.GetAffiliates()) != 1 || string(m.GetAffiliates()[0].GetData()) != "data" || len(m.GetAffiliates()[0].GetEndpoints()) != 1 {
				t.Errorf("the update is %v", m)
			}
			list, err := client.List(ctx, connect.NewRequest(&serverpb.ListRequest{ClusterId: name}))
			if err != nil || len(list.Msg.GetAffiliates()) != 1 {
				t.Errorf("list: %v, %v", list, err)
			}
			if _, err := client.AffiliateDelete(ctx, connect.NewRequest(&serverpb.AffiliateDeleteRequest{ClusterId: name, AffiliateId: "a"})); err != nil {
				t.Fatal(err)
			}
			if m := receive(); !m.GetDeleted() || m.GetAffiliates()[0].GetId() != "a" {
				t.Errorf("the deletion is %v", m)
			}
		})
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	url, _ := start(t)
	client := serverpbconnect.NewClusterClient(h2c(t), url, connect.WithGRPC())
	long := strings.Repeat("x", 257)
	minute := durationpb.New(time.Minute)
	block := make([]byte, 16)
	many := make([][]byte, server.MaxEndpoints+1)
	for i := range many {
		many[i] = block
	}
	for name, m := range map[string]*serverpb.AffiliateUpdateRequest{
		"cluster_id is missing":               {AffiliateId: "a", Ttl: minute},
		"cluster_id has 257 bytes":            {ClusterId: long, AffiliateId: "a", Ttl: minute},
		"affiliate_id is missing":             {ClusterId: "c", Ttl: minute},
		"affiliate_id has 257 bytes":          {ClusterId: "c", AffiliateId: long, Ttl: minute},
		"affiliate_data has 2049 bytes":       {ClusterId: "c", AffiliateId: "a", AffiliateData: make([]byte, 2049), Ttl: minute},
		"affiliate_endpoints has 65 items":    {ClusterId: "c", AffiliateId: "a", AffiliateEndpoints: many, Ttl: minute},
		"affiliate_endpoints[1] has 0 bytes":  {ClusterId: "c", AffiliateId: "a", AffiliateEndpoints: [][]byte{block, nil}, Ttl: minute},
		"affiliate_endpoints[0] has 17 bytes": {ClusterId: "c", AffiliateId: "a", AffiliateEndpoints: [][]byte{make([]byte, 17)}, Ttl: minute},
		"affiliate_endpoints[0] has 48 bytes": {ClusterId: "c", AffiliateId: "a", AffiliateEndpoints: [][]byte{make([]byte, 48)}, Ttl: minute},
		"ttl must be longer":                  {ClusterId: "c", AffiliateId: "a"},
		"ttl must be longer than nothing":     {ClusterId: "c", AffiliateId: "a", Ttl: durationpb.New(-time.Second)},
	} {
		_, err := client.AffiliateUpdate(t.Context(), connect.NewRequest(m))
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), name) {
			t.Errorf("want %q, got %v", name, err)
		}
	}
	if _, err := client.AffiliateUpdate(t.Context(), connect.NewRequest(&serverpb.AffiliateUpdateRequest{ClusterId: "c", AffiliateId: "a",
		AffiliateData: make([]byte, 1<<20), Ttl: minute})); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a request of a megabyte: %v", err)
	}
	stream, err := client.Watch(t.Context(), connect.NewRequest(&serverpb.WatchRequest{}))
	if err == nil {
		if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodeInvalidArgument {
			t.Errorf("a watch of no cluster: %v", stream.Err())
		}
		_ = stream.Close()
	}
	list, err := client.List(t.Context(), connect.NewRequest(&serverpb.ListRequest{ClusterId: "c"}))
	if err != nil || len(list.Msg.GetAffiliates()) != 0 {
		t.Errorf("what was refused is there: %v, %v", list, err)
	}
}

func TestFullClusterIsSaidSo(t *testing.T) {
	url, _ := start(t)
	client := serverpbconnect.NewClusterClient(http.DefaultClient, url)
	for _, id := range []string{"a", "b", "c"} {
		if _, err := client.AffiliateUpdate(t.Context(), updateRequest("c", id, "x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.AffiliateUpdate(t.Context(), updateRequest("c", "d", "x")); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a fourth affiliate: %v", err)
	}
}

func TestShutdownLetsWatchersMoveOn(t *testing.T) {
	url, stop := start(t)
	client := serverpbconnect.NewClusterClient(h2c(t), url, connect.WithGRPC())
	stream, err := client.Watch(t.Context(), connect.NewRequest(&serverpb.WatchRequest{ClusterId: "c"}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	stop()
	if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodeUnavailable {
		t.Errorf("the stream ended with %v", stream.Err())
	}
}

// TestStoreFailureStaysInTheLog has a store that is broken.
func TestStoreFailureStaysInTheLog(t *testing.T) {
	var log bytes.Buffer
	handler := server.New(t.Context(), brokenStore{}, slog.New(slog.NewTextHandler(&log, nil))).Handler()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(func() { _ = s.Close() })
	client := serverpbconnect.NewClusterClient(http.DefaultClient, "http://"+listener.Addr().String())
	_, err = client.List(t.Context(), connect.NewRequest(&serverpb.ListRequest{ClusterId: "c"}))
	if connect.CodeOf(err) != connect.CodeInternal || strings.Contains(err.Error(), "disk") {
		t.Errorf("the caller sees %v", err)
	}
	if !strings.Contains(log.String(), "the disk is on fire") {
		t.Errorf("the log has %q", log.String())
	}
}

type brokenStore struct{ server.Store }

func (brokenStore) List(context.Context, string) ([]*store.Affiliate, error) {
	return nil, errors.New("the disk is on fire")
}
