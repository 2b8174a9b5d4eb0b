package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
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

// options returns the default options of a server with a memory store, as changed by changes.
func options(changes []func(*server.Options)) server.Options {
	o := server.Options{Limits: server.DefaultLimits(), Version: "test", Log: slog.New(slog.DiscardHandler)}
	for _, change := range changes {
		change(&o)
	}
	if o.Store == nil {
		o.Store = store.NewMemory(o.Limits.Store)
	}
	return o
}

// start serves on loopback until the test ends, with the default options as changed by
// changes. It returns the URL, and a function that stops the server earlier.
func start(t *testing.T, changes ...func(*server.Options)) (url string, stop func()) {
	t.Helper()
	o := options(changes)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, []net.Listener{listener}, nil, o) }()
	stopped := false
	stop = func() {
		cancel()
		if !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Errorf("the server returned %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return "http://" + listener.Addr().String(), stop
}

// h2c returns a client that speaks HTTP/2 without TLS.
func h2c(t *testing.T) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// protocols returns a client for each protocol of the server.
func protocols(t *testing.T, url string) map[string]serverpbconnect.ClusterClient {
	return map[string]serverpbconnect.ClusterClient{
		"gRPC":                   serverpbconnect.NewClusterClient(h2c(t), url, connect.WithGRPC()),
		"Connect over HTTP/1.1":  serverpbconnect.NewClusterClient(http.DefaultClient, url),
		"Connect over HTTP/2":    serverpbconnect.NewClusterClient(h2c(t), url),
		"Connect with JSON":      serverpbconnect.NewClusterClient(http.DefaultClient, url, connect.WithProtoJSON()),
		"gRPC-Web over HTTP/1.1": serverpbconnect.NewClusterClient(http.DefaultClient, url, connect.WithGRPCWeb()),
		"gRPC in JSON":           serverpbconnect.NewClusterClient(h2c(t), url, connect.WithGRPC(), connect.WithProtoJSON()),
	}
}

func updateRequest(cluster, id, data string, endpoints ...[]byte) *connect.Request[serverpb.AffiliateUpdateRequest] {
	return connect.NewRequest(&serverpb.AffiliateUpdateRequest{ClusterId: cluster, AffiliateId: id, AffiliateData: []byte(data),
		AffiliateEndpoints: endpoints, Ttl: durationpb.New(time.Minute)})
}

// TestProtocols makes each call in every protocol.
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
				t.Errorf("the watcher got %v, want the update", m)
			}
			list, err := client.List(ctx, connect.NewRequest(&serverpb.ListRequest{ClusterId: name}))
			if err != nil || len(list.Msg.GetAffiliates()) != 1 {
				t.Errorf("list: %v, %v", list, err)
			}
			if _, err := client.AffiliateDelete(ctx, connect.NewRequest(&serverpb.AffiliateDeleteRequest{ClusterId: name, AffiliateId: "a"})); err != nil {
				t.Fatal(err)
			}
			if m := receive(); !m.GetDeleted() || m.GetAffiliates()[0].GetId() != "a" {
				t.Errorf("the watcher got %v, want the deletion", m)
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
	for name, m := range map[string]*serverpb.AffiliateUpdateRequest{
		"cluster_id is missing":               {AffiliateId: "a", Ttl: minute},
		"cluster_id has 257 bytes":            {ClusterId: long, AffiliateId: "a", Ttl: minute},
		"affiliate_id is missing":             {ClusterId: "c", Ttl: minute},
		"affiliate_id has 257 bytes":          {ClusterId: "c", AffiliateId: long, Ttl: minute},
		"affiliate_data has 2049 bytes":       {ClusterId: "c", AffiliateId: "a", AffiliateData: make([]byte, 2049), Ttl: minute},
		"affiliate_endpoints[1] has 0 bytes":  {ClusterId: "c", AffiliateId: "a", AffiliateEndpoints: [][]byte{block, nil}, Ttl: minute},
		"affiliate_endpoints[0] has 33 bytes": {ClusterId: "c", AffiliateId: "a", AffiliateEndpoints: [][]byte{make([]byte, 33)}, Ttl: minute},
		"ttl is 30m0.000000001s":              {ClusterId: "c", AffiliateId: "a", Ttl: durationpb.New(30*time.Minute + 1)},
		"ttl is 876000h":                      {ClusterId: "c", AffiliateId: "a", Ttl: durationpb.New(876000 * time.Hour)},
		"ttl is 2562047h47m16":                {ClusterId: "c", AffiliateId: "a", Ttl: &durationpb.Duration{Seconds: math.MaxInt64}},
		"cluster_id has the character U+000A": {ClusterId: "c\n", AffiliateId: "a", Ttl: minute},
		"has the character U+001B":            {ClusterId: "c", AffiliateId: "\x1b]0;x\a\x1b[2J\nrow", Ttl: minute},
		"has the character U+007F":            {ClusterId: "c", AffiliateId: "a\x7f", Ttl: minute},
		"has the character U+009B":            {ClusterId: "c", AffiliateId: "a\u009b2J", Ttl: minute},
		"has the character U+202E":            {ClusterId: "c", AffiliateId: "a\u202e", Ttl: minute},
		"has the character U+2066":            {ClusterId: "c", AffiliateId: "a\u2066", Ttl: minute},
		"has the character U+200B":            {ClusterId: "c", AffiliateId: "a\u200b", Ttl: minute},
		"has the character U+2028":            {ClusterId: "c", AffiliateId: "a\u2028", Ttl: minute},
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
		t.Errorf("a refused update was stored: %v, %v", list, err)
	}
}

func TestFullClusterRefusesAffiliates(t *testing.T) {
	url, _ := start(t, func(o *server.Options) { o.Limits.Store.Affiliates = 3 })
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

func TestShutdownEndsWatchesAsUnavailable(t *testing.T) {
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

// TestStoreErrorIsLoggedAndNotSent has a store that fails.
func TestStoreErrorIsLoggedAndNotSent(t *testing.T) {
	var log bytes.Buffer
	handler := server.New(t.Context(), server.Options{Store: brokenStore{}, Limits: server.DefaultLimits(), Log: slog.New(slog.NewTextHandler(&log, nil))}).Handler()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(func() { _ = s.Close() })
	client := serverpbconnect.NewClusterClient(http.DefaultClient, "http://"+listener.Addr().String())
	_, err = client.List(t.Context(), connect.NewRequest(&serverpb.ListRequest{ClusterId: "c"}))
	if connect.CodeOf(err) != connect.CodeUnavailable || strings.Contains(err.Error(), "disk") {
		t.Errorf("the caller sees %v", err)
	}
	if !strings.Contains(log.String(), "the disk is on fire") {
		t.Errorf("the log has %q", log.String())
	}
}

type brokenStore struct{ server.Store }

func (brokenStore) List(context.Context, string) (*store.Snapshot, error) {
	return nil, errors.New("the disk is on fire")
}

func (brokenStore) Ready(context.Context) error { return errors.New("the disk is on fire") }

func TestProbesOfABrokenStore(t *testing.T) {
	s := httptest.NewServer(server.New(t.Context(), server.Options{Store: brokenStore{}, Limits: server.DefaultLimits(), Log: slog.New(slog.DiscardHandler)}).Handler())
	t.Cleanup(s.Close)
	if status, body := get(t, s.URL+"/readyz"); status != http.StatusServiceUnavailable || strings.Contains(body, "disk") {
		t.Errorf("readyz: %d, %s", status, body)
	}
	if status, _ := get(t, s.URL+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d", status)
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestMemberTokens(t *testing.T) {
	url, _ := start(t, func(o *server.Options) { o.Auth = server.Member })
	client := serverpbconnect.NewClusterClient(h2c(t), url, connect.WithGRPC())
	for _, c := range []struct {
		cluster, header string
		want            connect.Code
	}{
		{"c", "", connect.CodeUnauthenticated},
		{"c", "Basic abc", connect.CodeUnauthenticated},
		{"c", "Bearer ", connect.CodeUnauthenticated},
		{"c", "Bearer " + strings.Repeat("x", 300), connect.CodeUnauthenticated},
		{"c", "Bearer first", 0},
		{"c", "Bearer second", connect.CodePermissionDenied},
		{"c", "bearer first", 0},
		{"d", "Bearer second", 0},
	} {
		code := func(err error) connect.Code {
			if err == nil {
				return 0
			}
			return connect.CodeOf(err)
		}
		update := updateRequest(c.cluster, "a", "x")
		update.Header().Set("Authorization", c.header)
		_, err := client.AffiliateUpdate(t.Context(), update)
		if code(err) != c.want {
			t.Errorf("update of %s with %q: %v", c.cluster, c.header, err)
		}
		list := connect.NewRequest(&serverpb.ListRequest{ClusterId: c.cluster})
		list.Header().Set("Authorization", c.header)
		if _, err := client.List(t.Context(), list); code(err) != c.want {
			t.Errorf("list of %s with %q: %v", c.cluster, c.header, err)
		}
		remove := connect.NewRequest(&serverpb.AffiliateDeleteRequest{ClusterId: c.cluster, AffiliateId: "a"})
		remove.Header().Set("Authorization", c.header)
		if _, err := client.AffiliateDelete(t.Context(), remove); code(err) != c.want {
			t.Errorf("delete of %s with %q: %v", c.cluster, c.header, err)
		}
		watch := connect.NewRequest(&serverpb.WatchRequest{ClusterId: c.cluster})
		watch.Header().Set("Authorization", c.header)
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := client.Watch(ctx, watch)
		if err != nil {
			t.Fatal(err)
		}
		if stream.Receive() != (c.want == 0) || c.want != 0 && code(stream.Err()) != c.want {
			t.Errorf("watch of %s with %q: %v", c.cluster, c.header, stream.Err())
		}
		cancel()
		_ = stream.Close()
	}
	if _, err := client.Hello(t.Context(), connect.NewRequest(&serverpb.HelloRequest{ClusterId: "c"})); err != nil {
		t.Errorf("hello without a token: %v", err)
	}
}

func TestHello(t *testing.T) {
	url, _ := start(t, func(o *server.Options) {
		o.Redirect = "other.example.com:443"
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	client := serverpbconnect.NewClusterClient(http.DefaultClient, url)
	for _, c := range []struct {
		name, real, forwarded, want string
	}{
		{"no proxy", "", "", "127.0.0.1"},
		{"X-Real-IP", "203.0.113.1", "", "203.0.113.1"},
		{"X-Real-IP and X-Forwarded-For, one of which the caller wrote", "203.0.113.1", "203.0.113.2", "127.0.0.1"},
		{"X-Forwarded-For", "", "203.0.113.2", "203.0.113.2"},
		{"an address that the caller put in front is not believed", "", "198.51.100.1, 203.0.113.2, 10.0.0.1", "203.0.113.2"},
		{"IPv6", "", "2001:db8::1", "2001:db8::1"},
		{"mapped IPv4", "::ffff:203.0.113.1", "", "203.0.113.1"},
		{"nonsense", "nonsense", "more nonsense", "127.0.0.1"},
	} {
		req := connect.NewRequest(&serverpb.HelloRequest{ClusterId: "c"})
		req.Header().Set("X-Real-Ip", c.real)
		req.Header().Set("X-Forwarded-For", c.forwarded)
		response, err := client.Hello(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := netip.AddrFromSlice(response.Msg.GetClientIp()); got.String() != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got := response.Msg.GetRedirect().GetEndpoint(); got != "other.example.com:443" {
			t.Errorf("redirected to %q", got)
		}
	}

	t.Run("a caller that is no trusted proxy is not believed", func(t *testing.T) {
		url, _ := start(t)
		req := connect.NewRequest(&serverpb.HelloRequest{ClusterId: "c"})
		req.Header().Set("X-Real-Ip", "203.0.113.1")
		response, err := serverpbconnect.NewClusterClient(http.DefaultClient, url).Hello(t.Context(), req)
		if err != nil || !bytes.Equal(response.Msg.GetClientIp(), []byte{127, 0, 0, 1}) {
			t.Errorf("%v, %v", response, err)
		}
	})
}

// TestSlowRequestsAreEnded sends half a request, and then a byte each second.
func TestSlowRequestsAreEnded(t *testing.T) {
	t.Parallel()
	url, _ := start(t)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	began := time.Now()
	if _, err := conn.Write([]byte("POST /sidero.discovery.server.Cluster/List HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
				_, _ = conn.Write([]byte("x"))
			}
		}
	}()
	if err := conn.SetReadDeadline(began.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil && len(answer) == 0 || time.Since(began) > 30*time.Second {
		t.Errorf("the request ended after %v with %q, %v", time.Since(began), answer, err)
	}
}

func TestWatchIsOpenForLongerThanTheReadTimeout(t *testing.T) {
	t.Parallel()
	url, _ := start(t)
	type watch struct {
		name   string
		stream *connect.ServerStreamForClient[serverpb.WatchResponse]
	}
	var watches []watch
	clients := protocols(t, url)
	for name, client := range clients {
		stream, err := client.Watch(t.Context(), connect.NewRequest(&serverpb.WatchRequest{ClusterId: "c"}))
		if err != nil || !stream.Receive() {
			t.Fatalf("%s: %v, %v", name, err, stream.Err())
		}
		watches = append(watches, watch{name, stream})
	}
	<-time.After(12 * time.Second) // the timeout is 10
	if _, err := clients["gRPC"].AffiliateUpdate(t.Context(), updateRequest("c", "a", "x")); err != nil {
		t.Fatal(err)
	}
	for _, w := range watches {
		if !w.stream.Receive() {
			t.Errorf("%s: %v", w.name, w.stream.Err())
		}
		_ = w.stream.Close()
	}
}
