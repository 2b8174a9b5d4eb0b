package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/discoveryhttp/relaypb"
	"github.com/spanmesh/span/discoveryhttp/relaypb/relaypbconnect"
	"github.com/spanmesh/span/discoveryhttp/server"
)

// joined is a call of Join.
type joined struct {
	group        string
	member       [32]byte
	from         netip.Addr
	withoutAgent int
}

// fakeRelay has room for one member, whose proof is "proof".
type fakeRelay struct {
	prometheus.Collector
	running chan struct{}

	mu     sync.Mutex
	joined []joined
}

var _ server.Relay = (*fakeRelay)(nil)

func newFakeRelay() *fakeRelay {
	return &fakeRelay{Collector: prometheus.NewGauge(prometheus.GaugeOpts{Name: "relay_of_a_test"}), running: make(chan struct{})}
}

func (f *fakeRelay) use(o *server.Options) { o.Relay, o.RelayAddress = f, ":51821" }

func (f *fakeRelay) Run(ctx context.Context) error {
	close(f.running)
	<-ctx.Done()
	return nil
}

func (*fakeRelay) PublicKey() [32]byte { return [32]byte{1} }

func (*fakeRelay) Verify(now time.Time, _ string, _ [32]byte, made time.Time, proof []byte) error {
	if string(proof) != "proof" || now.Sub(made).Abs() > time.Hour {
		return errors.New("the proof was not made with the private key")
	}
	return nil
}

func (f *fakeRelay) Join(_ time.Time, group string, member [32]byte, from netip.Addr, withoutAgent [][32]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.joined) > 0 {
		return errors.New("relay: no room for another member")
	}
	f.joined = append(f.joined, joined{group, member, from, len(withoutAgent)})
	return nil
}

func (*fakeRelay) ServeStream(w http.ResponseWriter, _ *http.Request, caller netip.AddrPort) error {
	_, err := io.WriteString(w, "a stream of "+caller.Addr().String())
	return err
}

// TestRelay joins, and has the server refuse what is no request to join.
func TestRelay(t *testing.T) {
	f := newFakeRelay()
	url, _ := start(t, f.use)
	<-f.running
	client := relaypbconnect.NewRelayServiceClient(http.DefaultClient, url)
	described, err := client.Describe(t.Context(), connect.NewRequest(&relaypb.DescribeRequest{ClusterId: "cluster"}))
	if err != nil {
		t.Fatal(err)
	}
	if d, key := described.Msg, f.PublicKey(); !bytes.Equal(d.GetPublicKey(), key[:]) || d.GetAddress() != ":51821" || d.GetStreamPath() != server.RelayPath {
		t.Errorf("the relay is %v", d)
	}
	member, own := [32]byte{2}, f.PublicKey()
	request := func() *relaypb.JoinRequest {
		return &relaypb.JoinRequest{ClusterId: "cluster", PublicKey: member[:], Made: timestamppb.Now(), Proof: []byte("proof"), KeysWithoutAgent: [][]byte{own[:]}}
	}
	for name, c := range map[string]struct {
		change func(*relaypb.JoinRequest)
		want   connect.Code
	}{
		"no cluster":          {func(r *relaypb.JoinRequest) { r.ClusterId = "" }, connect.CodeInvalidArgument},
		"no key":              {func(r *relaypb.JoinRequest) { r.PublicKey = nil }, connect.CodeInvalidArgument},
		"a long key":          {func(r *relaypb.JoinRequest) { r.PublicKey = make([]byte, 33) }, connect.CodeInvalidArgument},
		"an empty key":        {func(r *relaypb.JoinRequest) { r.PublicKey = make([]byte, 32) }, connect.CodeInvalidArgument},
		"the relay's own key": {func(r *relaypb.JoinRequest) { r.PublicKey = own[:] }, connect.CodeInvalidArgument},
		"a short other key":   {func(r *relaypb.JoinRequest) { r.KeysWithoutAgent[0] = own[:31] }, connect.CodeInvalidArgument},
		"no time":             {func(r *relaypb.JoinRequest) { r.Made = nil }, connect.CodeInvalidArgument},
		"an impossible time":  {func(r *relaypb.JoinRequest) { r.Made.Nanos = -1 }, connect.CodeInvalidArgument},
		"another time":        {func(r *relaypb.JoinRequest) { r.Made = &timestamppb.Timestamp{} }, connect.CodePermissionDenied},
		"another proof":       {func(r *relaypb.JoinRequest) { r.Proof = nil }, connect.CodePermissionDenied},
		"many keys": {func(r *relaypb.JoinRequest) {
			for range 2000 {
				r.KeysWithoutAgent = append(r.KeysWithoutAgent, own[:])
			}
		}, connect.CodeResourceExhausted},
	} {
		r := request()
		c.change(r)
		if _, err := client.Join(t.Context(), connect.NewRequest(r)); connect.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if len(f.joined) > 0 {
		t.Fatalf("joined: %v", f.joined)
	}
	lease, err := client.Join(t.Context(), connect.NewRequest(request()))
	if err != nil || lease.Msg.GetLease().AsDuration() != server.RelayLease {
		t.Fatalf("join: %v, %v", lease, err)
	}
	if _, err := client.Join(t.Context(), connect.NewRequest(request())); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("at a limit: %v", err)
	}
	got := f.joined[0]
	if strings.Contains(got.group, "cluster") || got.group == "" {
		t.Errorf("the group is %q: the ID of a cluster may be a password", got.group)
	}
	got.group = ""
	if want := (joined{member: member, from: netip.MustParseAddr("127.0.0.1"), withoutAgent: 1}); got != want {
		t.Errorf("joined: %v, want %v", got, want)
	}
}

// TestRelayOfAMember refuses callers without the cluster's token.
func TestRelayOfAMember(t *testing.T) {
	f := newFakeRelay()
	url, _ := start(t, f.use, func(o *server.Options) { o.Auth = server.Member })
	_, err := relaypbconnect.NewRelayServiceClient(http.DefaultClient, url).Describe(t.Context(), connect.NewRequest(&relaypb.DescribeRequest{ClusterId: "cluster"}))
	if connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("without a token: %v", err)
	}
}

// TestStreamOfARelay asks for a stream by what carries one, and by what does not.
func TestStreamOfARelay(t *testing.T) {
	with, _ := start(t, newFakeRelay().use)
	without, _ := start(t)
	for name, c := range map[string]struct {
		client *http.Client
		url    string
		want   string
	}{
		"HTTP/1.1":        {http.DefaultClient, with, "a stream of 127.0.0.1"},
		"HTTP/2":          {h2c(t), with, "404 page not found\n"},
		"without a relay": {http.DefaultClient, without, "404 page not found\n"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url+server.RelayPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := c.client.Do(request)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || string(body) != c.want {
			t.Errorf("%s: %q, %v, want %q", name, body, err, c.want)
		}
	}
	_, err := relaypbconnect.NewRelayServiceClient(http.DefaultClient, without).Describe(t.Context(), connect.NewRequest(&relaypb.DescribeRequest{ClusterId: "cluster"}))
	if connect.CodeOf(err) != connect.CodeUnimplemented {
		t.Errorf("without a relay: %v", err)
	}
}
