package discoveryhttp_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/reconciler/mesh"
)

// service is a discovery server on loopback that can be stopped and started.
type service struct {
	t       *testing.T
	address string
	stop    func()
}

func serve(t *testing.T) *service {
	s := &service{t: t, address: "127.0.0.1:0"}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// start begins with an empty store, at the address of before.
func (s *service) start() {
	s.t.Helper()
	listener, err := new(net.ListenConfig).Listen(s.t.Context(), "tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- server.Run(ctx, []net.Listener{listener}, nil, server.Options{Store: store.NewMemory(store.Limits{}),
			Limits: server.DefaultLimits(), Log: slog.New(slog.DiscardHandler)})
	}()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("the server ended with %v", err)
		}
	})
}

func (s *service) url() string { return "http://" + s.address }

// member is a client at work, and what it has said.
type member struct {
	*discoveryhttp.Client
	t       *testing.T
	changed chan struct{}
	log     *syncBuffer
	stop    func()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const cluster = "cluster"

func (s *service) join(id string, remembered ...discoveryhttp.Remembered) *member {
	s.t.Helper()
	m := &member{t: s.t, changed: make(chan struct{}, 1), log: &syncBuffer{}}
	var err error
	m.Client, err = discoveryhttp.NewClient(discoveryhttp.Options{
		Endpoint: s.url(), ClusterID: cluster, Secret: [32]byte{1}, NodeID: id, Remembered: remembered,
		Changed: func() {
			select {
			case m.changed <- struct{}{}:
			default:
			}
		},
		Log: slog.New(slog.NewTextHandler(m.log, nil)),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func (m *member) run() *member {
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	m.stop = func() {
		cancel()
		<-done
	}
	m.t.Cleanup(m.stop)
	return m
}

func affiliate(id string, endpoints ...string) mesh.Affiliate {
	a := mesh.Affiliate{NodeID: id, Hostname: id, KubeSpan: mesh.KubeSpan{PublicKey: mesh.Key{id[0]}, Address: netip.MustParseAddr("fd00::1")}}
	for _, e := range endpoints {
		a.KubeSpan.Endpoints = append(a.KubeSpan.Endpoints, netip.MustParseAddrPort(e))
	}
	return a
}

// await waits until the member knows exactly the affiliates that want describes:
// IDs with their endpoints.
func (m *member) await(want ...string) {
	m.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		var got []string
		for _, a := range m.Affiliates() {
			text := a.NodeID
			for _, e := range a.KubeSpan.Endpoints {
				text += " " + e.String()
			}
			got = append(got, text)
		}
		if strings.Join(got, ", ") == strings.Join(want, ", ") {
			return
		}
		select {
		case <-m.changed:
		case <-deadline:
			m.t.Fatalf("knows %q, want %q; it said:\n%s", got, want, m.log)
		}
	}
}

func TestMembersSeeEachOther(t *testing.T) {
	s := serve(t)
	a, b := s.join("a").run(), s.join("b").run()
	a.Publish(affiliate("a", "192.0.2.1:1"), nil)
	b.Publish(affiliate("b"), nil)
	a.await("b")
	b.await("a 192.0.2.1:1")
	if !a.Complete() || len(a.Seen()) != 0 {
		t.Errorf("complete %v, seen at %v, which is loopback", a.Complete(), a.Seen())
	}

	t.Run("a change is told", func(t *testing.T) {
		changed := affiliate("a", "192.0.2.1:1", "192.0.2.2:2")
		a.Publish(changed, nil)
		b.await("a 192.0.2.1:1 192.0.2.2:2")
	})
	t.Run("harvested endpoints reach the others", func(t *testing.T) {
		b.Publish(affiliate("b"), map[string][]netip.AddrPort{"a": {netip.MustParseAddrPort("198.51.100.1:9")}})
		b.await("a 192.0.2.1:1 192.0.2.2:2 198.51.100.1:9")
	})
	t.Run("who leaves is gone", func(t *testing.T) {
		a.stop()
		if err := a.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.await()
	})
}

func TestServiceThatForgotIsToldAgain(t *testing.T) {
	s := serve(t)
	a, b := s.join("a").run(), s.join("b").run()
	a.Publish(affiliate("a"), nil)
	b.Publish(affiliate("b"), nil)
	b.await("a")
	a.await("b")
	s.stop()
	s.start()
	// Nobody is forgotten, and who comes later sees them all.
	late := s.join("c").run()
	late.Publish(affiliate("c"), nil)
	late.await("a", "b")
	a.await("b", "c")
	b.await("a", "c")
}

func TestServiceThatIsAwayIsWaitedFor(t *testing.T) {
	s := serve(t)
	s.stop()
	a := s.join("a", discoveryhttp.Remembered{Affiliate: affiliate("b"), LastSeen: time.Now()}).run()
	a.Publish(affiliate("a"), nil)
	a.await("b")
	if a.Complete() {
		t.Error("complete, before the service was heard")
	}
	if err := a.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "say hello to discovery") {
		t.Errorf("fetch: %v", err)
	}
	s.start()
	c := s.join("c").run()
	c.await("a")
}

func TestFetchAndPush(t *testing.T) {
	s := serve(t)
	a, b := s.join("a"), s.join("b")
	if err := a.Push(t.Context(), affiliate("a")); err != nil {
		t.Fatal(err)
	}
	if err := b.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.await("a")
	if remembered := b.Remember(); len(remembered) != 1 || time.Since(remembered[0].LastSeen) > time.Minute {
		t.Errorf("remembered is %+v", remembered)
	}
}

// TestWhatCannotBeUsedStopsNobody puts garbage into the cluster.
func TestWhatCannotBeUsedStopsNobody(t *testing.T) {
	s := serve(t)
	raw := serverpbconnect.NewClusterClient(http.DefaultClient, s.url())
	put := func(id string, data []byte, endpoints ...[]byte) {
		t.Helper()
		_, err := raw.AffiliateUpdate(t.Context(), connect.NewRequest(&serverpb.AffiliateUpdateRequest{ClusterId: cluster, AffiliateId: id,
			AffiliateData: data, AffiliateEndpoints: endpoints, Ttl: durationpb.New(time.Minute)}))
		if err != nil {
			t.Fatal(err)
		}
	}
	b := s.join("b").run()
	b.Publish(affiliate("b", "192.0.2.1:1"), nil)
	a := s.join("a").run()
	a.await("b 192.0.2.1:1")
	list, err := raw.List(t.Context(), connect.NewRequest(&serverpb.ListRequest{ClusterId: cluster}))
	if err != nil || len(list.Msg.GetAffiliates()) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	put("garbage", []byte("garbage"))
	put("thief", list.Msg.GetAffiliates()[0].GetData()) // sealed for b
	put("nameless", nil, make([]byte, 16))
	put("b", nil, make([]byte, 16)) // an endpoint that is none
	c := s.join("c").run()
	c.Publish(affiliate("c"), nil)
	a.await("b 192.0.2.1:1", "c")
	for _, want := range []string{"affiliate=garbage reason=\"cannot be decrypted", `affiliate=thief reason="is sealed for node ID`} {
		if n := strings.Count(a.log.String(), want); n != 1 {
			t.Errorf("%q was said %d times:\n%s", want, n, a.log)
		}
	}
}

func TestPlainHTTPIsWarnedOfBeyondLoopback(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"http://192.0.2.1:3000": true, "http://discovery.example.com": true,
		"http://127.0.0.1:3000": false, "http://[::1]:3000": false, "http://localhost": false, "https://192.0.2.1": false,
	} {
		var log bytes.Buffer
		_, err := discoveryhttp.NewClient(discoveryhttp.Options{Endpoint: endpoint, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil || strings.Contains(log.String(), "not over TLS") != want {
			t.Errorf("%s: warned %v, %v", endpoint, !want, err)
		}
	}
}
