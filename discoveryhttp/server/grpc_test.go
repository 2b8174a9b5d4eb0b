package server_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
)

// serveGRPC serves gRPC alone until the test ends, and returns the address.
func serveGRPC(t testing.TB, changes ...func(*server.Options)) string {
	t.Helper()
	address, _ := serverOf(t, changes...)
	return address
}

// serverOf is serveGRPC, with the server.
func serverOf(t testing.TB, changes ...func(*server.Options)) (string, *server.Server) {
	t.Helper()
	o := options(changes)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	s := server.New(ctx, o)
	go func() { done <- s.ServeGRPC(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server returned %v", err)
		}
	})
	return listener.Addr().String(), s
}

// dial returns a connection of grpc-go's client.
func dial(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestGRPC(t *testing.T) {
	conn := dial(t, serveGRPC(t))
	var hello serverpb.HelloResponse
	var header metadata.MD
	if err := conn.Invoke(t.Context(), serverpbconnect.ClusterHelloProcedure, &serverpb.HelloRequest{ClusterId: "c"}, &hello, grpc.Header(&header)); err != nil ||
		net.IP(hello.GetClientIp()).String() != "127.0.0.1" {
		t.Errorf("hello: %v, %v", &hello, err)
	}
	wantTime := func(header metadata.MD) {
		t.Helper()
		dates := header.Get("date")
		if len(dates) != 1 {
			t.Fatalf("the answer says its time by %q", dates)
		}
		if _, err := http.ParseTime(dates[0]); err != nil {
			t.Error(err)
		}
	}
	wantTime(header)
	watch, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, serverpbconnect.ClusterWatchProcedure)
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.SendMsg(&serverpb.WatchRequest{ClusterId: "c"}); err != nil {
		t.Fatal(err)
	}
	if err := watch.CloseSend(); err != nil {
		t.Fatal(err)
	}
	receive := func() *serverpb.WatchResponse {
		t.Helper()
		var m serverpb.WatchResponse
		if err := watch.RecvMsg(&m); err != nil {
			t.Fatal(err)
		}
		return &m
	}
	if m := receive(); len(m.GetAffiliates()) != 0 {
		t.Errorf("the snapshot of an empty cluster is %v", m)
	}
	if header, err = watch.Header(); err != nil {
		t.Fatal(err)
	}
	wantTime(header)
	var none serverpb.AffiliateUpdateResponse
	if err := conn.Invoke(t.Context(), serverpbconnect.ClusterAffiliateUpdateProcedure, updateRequest("c", "a", "data", make([]byte, 16)).Msg, &none); err != nil {
		t.Fatal(err)
	}
	if m := receive(); len(m.GetAffiliates()) != 1 || string(m.GetAffiliates()[0].GetData()) != "data" {
		t.Errorf("the watcher got %v, want the update", m)
	}
	var list serverpb.ListResponse
	if err := conn.Invoke(t.Context(), serverpbconnect.ClusterListProcedure, &serverpb.ListRequest{ClusterId: "c"}, &list); err != nil || len(list.GetAffiliates()) != 1 {
		t.Errorf("list: %v, %v", &list, err)
	}
	var removed serverpb.AffiliateDeleteResponse
	if err := conn.Invoke(t.Context(), serverpbconnect.ClusterAffiliateDeleteProcedure, &serverpb.AffiliateDeleteRequest{ClusterId: "c", AffiliateId: "a"}, &removed); err != nil {
		t.Fatal(err)
	}
	if m := receive(); !m.GetDeleted() || m.GetAffiliates()[0].GetId() != "a" {
		t.Errorf("the watcher got %v, want the deletion", m)
	}
}

func TestGRPCErrors(t *testing.T) {
	conn := dial(t, serveGRPC(t, func(o *server.Options) { o.Limits.PerAddress = server.Rate{PerSecond: 0.001, Burst: 2} }))
	var trailer metadata.MD
	hello := func(cluster string, options ...grpc.CallOption) error {
		return conn.Invoke(t.Context(), serverpbconnect.ClusterHelloProcedure, &serverpb.HelloRequest{ClusterId: cluster}, new(serverpb.HelloResponse), options...)
	}
	if err := hello(""); status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "cluster_id is missing" {
		t.Errorf("no cluster: %v", err)
	}
	if err := hello("c", grpc.CallContentSubtype("proto")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	cancel()
	if err := conn.Invoke(ctx, serverpbconnect.ClusterHelloProcedure, &serverpb.HelloRequest{ClusterId: "c"}, new(serverpb.HelloResponse)); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a call without time: %v", err)
	}
	if err := hello("c", grpc.Trailer(&trailer)); status.Code(err) != codes.ResourceExhausted || len(trailer.Get("retry-after")) != 1 {
		t.Errorf("a third call: %v, %v", err, trailer)
	}
	if err := conn.Invoke(t.Context(), "/sidero.discovery.server.Cluster/Unknown", &serverpb.HelloRequest{}, new(serverpb.HelloResponse)); status.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown method: %v", err)
	}
}

func TestGRPCNamesTheCallerOfAProxy(t *testing.T) {
	for name, c := range map[string]struct {
		trusted string
		header  []string
		want    string
	}{
		"an unknown proxy":         {"10.0.0.0/8", []string{"x-real-ip", "192.0.2.1"}, "127.0.0.1"},
		"a trusted proxy":          {"127.0.0.0/8", []string{"x-real-ip", "192.0.2.1"}, "192.0.2.1"},
		"the last untrusted hop":   {"127.0.0.0/8", []string{"x-forwarded-for", "192.0.2.7, 192.0.2.2, 127.0.0.9"}, "192.0.2.2"},
		"a proxy without a header": {"127.0.0.0/8", nil, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, serveGRPC(t, trusting(c.trusted)))
			var hello serverpb.HelloResponse
			ctx := metadata.AppendToOutgoingContext(t.Context(), c.header...)
			if err := conn.Invoke(ctx, serverpbconnect.ClusterHelloProcedure, &serverpb.HelloRequest{ClusterId: "c"}, &hello); err != nil {
				t.Fatal(err)
			}
			if got := net.IP(hello.GetClientIp()).String(); got != c.want {
				t.Errorf("the caller is %s, want %s", got, c.want)
			}
		})
	}
}

func trusting(network string) func(*server.Options) {
	return func(o *server.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(network)} }
}

func TestGRPCRefusesCompressionAndOtherEncodings(t *testing.T) {
	url := "http://" + serveGRPC(t)
	for name, option := range map[string]connect.ClientOption{"gzip": connect.WithSendGzip(), "JSON": connect.WithProtoJSON()} {
		client := serverpbconnect.NewClusterClient(h2c(t), url, connect.WithGRPC(), option)
		if _, err := client.AffiliateUpdate(t.Context(), updateRequest("c", "a", strings.Repeat("x", 1000))); connect.CodeOf(err) != connect.CodeUnimplemented {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGRPCCallsWaitWithinTheirDeadline has turns that are two seconds apart.
func TestGRPCCallsWaitWithinTheirDeadline(t *testing.T) {
	t.Parallel()
	conn := dial(t, serveGRPC(t, func(o *server.Options) { o.Limits.PerAddress = server.Rate{PerSecond: 0.5, Burst: 1} }))
	hello := func(timeout time.Duration) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		began := time.Now()
		err := conn.Invoke(ctx, serverpbconnect.ClusterHelloProcedure, &serverpb.HelloRequest{ClusterId: "c"}, new(serverpb.HelloResponse))
		return time.Since(began), err
	}
	if _, err := hello(time.Minute); err != nil {
		t.Fatal(err)
	}
	if took, err := hello(time.Second); status.Code(err) != codes.ResourceExhausted || took > 900*time.Millisecond {
		t.Errorf("a call whose turn is after its deadline ended after %v with %v", took, err)
	}
	if took, err := hello(time.Minute); err != nil || took < time.Second {
		t.Errorf("a call that can wait ended after %v with %v", took, err)
	}
}

// TestGRPCRefusesWhatCannotBeDecoded has an ID that is not UTF-8, and no message at all.
func TestGRPCRefusesWhatCannotBeDecoded(t *testing.T) {
	conn := dial(t, serveGRPC(t))
	for _, body := range []string{"\x0a\x02\xff\xfe", "\x0a\xff"} {
		for _, procedure := range []string{serverpbconnect.ClusterHelloProcedure, serverpbconnect.ClusterAffiliateUpdateProcedure, serverpbconnect.ClusterListProcedure} {
			err := conn.Invoke(t.Context(), procedure, []byte(body), new([]byte), grpc.ForceCodec(bytesCodec{}))
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("%q by %s: %v", body, procedure, err)
			}
		}
	}
}

// bytesCodec sends bytes as they are.
type bytesCodec struct{}

func (bytesCodec) Marshal(v any) ([]byte, error)   { return v.([]byte), nil }
func (bytesCodec) Unmarshal(_ []byte, _ any) error { return nil }
func (bytesCodec) Name() string                    { return "proto" }
