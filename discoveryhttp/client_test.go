package discoveryhttp_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
)

// service is a discovery server on loopback that can be stopped and started.
type service struct {
	t       *testing.T
	address string
	changes []func(*server.Options)
	stop    func()
}

func serve(t *testing.T, changes ...func(*server.Options)) *service {
	s := &service{t: t, address: "127.0.0.1:0", changes: changes}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// start serves an empty store, at the same address as before.
func (s *service) start() {
	s.t.Helper()
	listener, err := new(net.ListenConfig).Listen(s.t.Context(), "tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	done := make(chan error, 1)
	o := server.Options{Store: store.NewMemory(store.Limits{}), Limits: server.DefaultLimits(), Log: slog.New(slog.DiscardHandler)}
	for _, change := range s.changes {
		change(&o)
	}
	go func() { done <- server.Run(ctx, []net.Listener{listener}, nil, o) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("the server ended with %v", err)
		}
	})
}

func (s *service) url() string { return "http://" + s.address }

// member is a client with its log.
type member struct {
	*discoveryhttp.Client
	t       *testing.T
	changed chan struct{}
	log     *syncBuffer
	stop    func()
}

// syncBuffer is a buffer that can be read while it is written. Grown has an element after a
// write.
type syncBuffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{}
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.grown <- struct{}{}:
	default:
	}
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const cluster = "cluster"

func (s *service) join(id string, changes ...func(*discoveryhttp.Options)) *member {
	s.t.Helper()
	m := &member{t: s.t, changed: make(chan struct{}, 1), log: &syncBuffer{grown: make(chan struct{}, 1)}}
	o := discoveryhttp.Options{
		Endpoints: []string{s.url()}, ClusterID: cluster, Secret: [32]byte{1}, NodeID: id,
		Changed: func() {
			select {
			case m.changed <- struct{}{}:
			default:
			}
		},
		Log: slog.New(slog.NewTextHandler(m.log, nil)),
	}
	for _, change := range changes {
		change(&o)
	}
	var err error
	m.Client, err = discoveryhttp.NewClient(o)
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

func local(id string, endpoints ...string) reconciler.Publication {
	return reconciler.Publication{Local: affiliate(id, endpoints...)}
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
		for _, a := range m.Snapshot().Affiliates {
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
			m.t.Fatalf("knows %q, want %q; its log:\n%s", got, want, m.log)
		}
	}
}

func TestMembersSeeEachOther(t *testing.T) {
	s := serve(t)
	a, b := s.join("a").run(), s.join("b").run()
	a.Publish(local("a", "192.0.2.1:1"))
	b.Publish(local("b"))
	a.await("b")
	b.await("a 192.0.2.1:1")
	if s := a.Snapshot(); !s.Complete || len(s.Seen) != 0 {
		t.Errorf("complete %v, seen at %v, which is loopback", s.Complete, s.Seen)
	}

	t.Run("a change is seen", func(t *testing.T) {
		changed := affiliate("a", "192.0.2.1:1", "192.0.2.2:2")
		a.Publish(reconciler.Publication{Local: changed})
		b.await("a 192.0.2.1:1 192.0.2.2:2")
	})
	t.Run("harvested endpoints reach the others", func(t *testing.T) {
		b.Publish(reconciler.Publication{Local: affiliate("b"), Harvested: map[string][]netip.AddrPort{"a": {netip.MustParseAddrPort("198.51.100.1:9")}}})
		b.await("a 192.0.2.1:1 192.0.2.2:2 198.51.100.1:9")
	})
	t.Run("a machine that leaves is removed", func(t *testing.T) {
		a.stop()
		if err := a.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.await()
	})
}

// TestHarvestThatDoesNotFit has more endpoints of one machine than a service keeps, as behind a NAT that shows
// each peer another port: what is known of others is published, and the machine that finds no room is well.
func TestHarvestThatDoesNotFit(t *testing.T) {
	for _, protocol := range []discoveryhttp.Protocol{discoveryhttp.GRPC, discoveryhttp.Connect} {
		s := serve(t, func(o *server.Options) { o.Store = store.NewMemory(store.Limits{Endpoints: 2}) })
		over := func(o *discoveryhttp.Options) { o.Protocol = protocol }
		a, b, c := s.join("a", over).run(), s.join("b", over).run(), s.join("c", over).run()
		a.Publish(local("a", "192.0.2.1:1", "192.0.2.2:2"))
		b.Publish(local("b", "192.0.2.3:3"))
		c.await("a 192.0.2.1:1 192.0.2.2:2", "b 192.0.2.3:3")
		seen := []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:9")}
		harvested := map[string][]netip.AddrPort{"a": seen, "b": seen}
		c.Publish(reconciler.Publication{Local: affiliate("c"), Harvested: harvested})
		a.await("b 192.0.2.3:3 198.51.100.1:9", "c")
		c.Publish(reconciler.Publication{Local: affiliate("c", "192.0.2.4:4"), Harvested: harvested})
		a.await("b 192.0.2.3:3 198.51.100.1:9", "c 192.0.2.4:4") // what was sent before is answered
		if log := c.log.String(); strings.Contains(log, "publishing failed") {
			t.Errorf("%s: the log has\n%s", protocol, log)
		}
	}
}

func TestMachinesPublishAgainAfterAServiceLostItsMemory(t *testing.T) {
	s := serve(t)
	a, b := s.join("a").run(), s.join("b").run()
	a.Publish(local("a"))
	b.Publish(local("b"))
	b.await("a")
	a.await("b")
	s.stop()
	s.start()
	// No machine is forgotten, and a machine that joins later sees them all.
	late := s.join("c").run()
	late.Publish(local("c"))
	late.await("a", "b")
	a.await("b", "c")
	b.await("a", "c")
}

func TestCacheIsUsedUntilTheServiceAnswers(t *testing.T) {
	s := serve(t)
	if err := s.join("b").Announce(t.Context(), affiliate("b")); err != nil {
		t.Fatal(err)
	}
	before := s.join("a")
	if err := before.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	cache, err := before.Cache()
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	a := s.join("a", func(o *discoveryhttp.Options) { o.Cache = cache }).run()
	a.Publish(local("a"))
	a.await("b")
	if a.Snapshot().Complete {
		t.Error("complete before the service has answered")
	}
	if err := a.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "say hello to http://127.0.0.1") {
		t.Errorf("fetch: %v", err)
	}
	s.start()
	c := s.join("c").run()
	c.await("a")
}

func TestAnnounceReturnsWhenTheServiceHasAccepted(t *testing.T) {
	s := serve(t)
	one, two := s.join("one").run(), s.join("two").run()
	one.Publish(local("one", "10.0.0.1:1"))
	two.await("one 10.0.0.1:1")
	if err := one.Announce(t.Context(), affiliate("one", "10.0.0.1:1", "10.0.0.2:2")); err != nil {
		t.Fatal(err)
	}
	// It is there when Announce returns, and stays what is published.
	late := s.join("late")
	if err := late.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	late.await("one 10.0.0.1:1 10.0.0.2:2")
	two.await("one 10.0.0.1:1 10.0.0.2:2")
	s.stop()
	if err := one.Announce(t.Context(), affiliate("one")); err == nil {
		t.Error("no error, though the service is stopped")
	}
}

func TestNetworkChangeReconnects(t *testing.T) {
	s := serve(t)
	one, two := s.join("one").run(), s.join("two").run()
	one.Publish(local("one", "10.0.0.1:1"))
	two.await("one 10.0.0.1:1")
	two.NetworkChanged()
	one.NetworkChanged()
	one.Publish(local("one", "10.0.0.2:2"))
	two.await("one 10.0.0.1:1 10.0.0.2:2")
}

func TestFetchAndAnnounceOnce(t *testing.T) {
	s := serve(t)
	a, b := s.join("a"), s.join("b")
	if err := a.Announce(t.Context(), affiliate("a")); err != nil {
		t.Fatal(err)
	}
	if err := b.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.await("a")
}

func TestInvalidAffiliatesAreRefused(t *testing.T) {
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
	b.Publish(local("b", "192.0.2.1:1"))
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
	c.Publish(local("c"))
	a.await("b 192.0.2.1:1", "c")
	if got := a.Snapshot().Unreadable; !slices.Equal(got, []string{"garbage"}) {
		t.Errorf("%q cannot be read", got)
	}
	for id, want := range map[string]string{"garbage": "cannot be decrypted", "thief": `is sealed for node ID "b"`} {
		if got := a.Snapshot().Refused[id]; !strings.Contains(got, want) {
			t.Errorf("%s is refused because it %q, want %q", id, got, want)
		}
	}
	if _, err := raw.AffiliateDelete(t.Context(), connect.NewRequest(&serverpb.AffiliateDeleteRequest{ClusterId: cluster, AffiliateId: "garbage"})); err != nil {
		t.Fatal(err)
	}
	put("garbage2", []byte("garbage"))
	for len(a.Snapshot().Refused) != 2 || a.Snapshot().Refused["garbage2"] == "" {
		select {
		case <-a.changed:
		case <-time.After(30 * time.Second):
			t.Fatalf("refused are %v", a.Snapshot().Refused)
		}
	}
}

// Each of two services is stopped for a while.
func TestSeveralServices(t *testing.T) {
	one, two := serve(t), serve(t)
	both := func(o *discoveryhttp.Options) { o.Endpoints = []string{one.url(), two.url()} }
	a, b := one.join("a", both).run(), one.join("b", both).run()
	a.Publish(local("a"))
	b.Publish(local("b"))
	a.await("b")
	onlyTwo := two.join("c").run()
	onlyTwo.Publish(local("c"))
	onlyTwo.await("a", "b")
	a.await("b", "c")

	t.Run("one is enough", func(t *testing.T) {
		one.stop()
		d := one.join("d", both).run()
		d.Publish(local("d"))
		d.await("a", "b", "c")
		a.await("b", "c", "d")
		// A machine that leaves meanwhile is not kept because one service was stopped.
		d.stop()
		if err := d.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		a.await("b", "c")
	})
	t.Run("and so is the other", func(t *testing.T) {
		one.start()
		late := one.join("e").run()
		late.Publish(local("e"))
		late.await("a", "b")
		two.stop()
		b.await("a", "c", "e")
	})
	t.Run("all away is an error", func(t *testing.T) {
		one.stop()
		err := one.join("f", both).Fetch(t.Context())
		if err == nil || !strings.Contains(err.Error(), one.url()) || !strings.Contains(err.Error(), two.url()) {
			t.Errorf("got %v", err)
		}
	})
}

// A cluster of the largest size that a server allows.
func TestTenThousandAffiliates(t *testing.T) {
	const n = 10_000
	kept := store.NewMemory(store.Limits{Affiliates: n})
	s := serve(t, func(o *server.Options) { o.Store, o.Limits.Store.Affiliates = kept, n })
	cipher, err := payload.NewCipher([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		a := affiliate(fmt.Sprintf("node-%05d", i))
		sealed, err := cipher.SealAffiliate(a, payload.Stamp{})
		if err != nil {
			t.Fatal(err)
		}
		u := store.Update{ID: a.NodeID, Data: sealed, Endpoints: make([][]byte, 0), Now: time.Now(), TTL: time.Minute}
		for e := range byte(8) {
			u.Endpoints = append(u.Endpoints, append(make([]byte, 31), e))
		}
		if err := kept.Update(t.Context(), cluster, u); err != nil {
			t.Fatal(err)
		}
	}
	if err := kept.Update(t.Context(), cluster, store.Update{ID: "one more", Data: []byte{1}, Now: time.Now(), TTL: time.Minute}); err == nil {
		t.Error("the server accepts more affiliates than its limit")
	}
	for _, protocol := range []discoveryhttp.Protocol{discoveryhttp.GRPC, discoveryhttp.Connect} {
		fetching := s.join("a", func(o *discoveryhttp.Options) { o.Protocol = protocol })
		if err := fetching.Fetch(t.Context()); err != nil || len(fetching.Snapshot().Affiliates) != n {
			t.Errorf("fetched %d by %s, %v", len(fetching.Snapshot().Affiliates), protocol, err)
		}
	}
	watching := s.join("b").run()
	for len(watching.Snapshot().Affiliates) != n {
		select {
		case <-watching.changed:
		case <-time.After(time.Minute):
			t.Fatalf("watched %d", len(watching.Snapshot().Affiliates))
		}
	}
}

func TestMemberTokenIsSent(t *testing.T) {
	s := serve(t, func(o *server.Options) { o.Auth = server.Member })
	a, b := s.join("a").run(), s.join("b").run()
	a.Publish(local("a"))
	b.await("a")
	stranger := s.join("c", func(o *discoveryhttp.Options) { o.Secret = [32]byte{9} })
	if err := stranger.Fetch(t.Context()); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("a stranger got %v", err)
	}
	if err := stranger.Announce(t.Context(), affiliate("c")); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("a stranger got %v", err)
	}
}

func TestRedirectsAreFollowed(t *testing.T) {
	last := serve(t)
	middle := serve(t, func(o *server.Options) { o.Redirect = last.address })
	first := serve(t, func(o *server.Options) { o.Redirect = middle.address })
	a, b := first.join("a").run(), last.join("b").run()
	a.Publish(local("a"))
	b.Publish(local("b"))
	a.await("b")
	b.await("a")

	t.Run("but not in circles", func(t *testing.T) {
		var circle *service
		circle = serve(t, func(o *server.Options) {
			if circle != nil {
				o.Redirect = circle.address
			}
		})
		circle.stop()
		circle.start()
		if err := circle.join("a").Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "redirects more than 5 times") {
			t.Errorf("got %v", err)
		}
	})
}

// The server is behind a proxy for HTTP/1.1.
func TestProtocols(t *testing.T) {
	s := serve(t)
	target, err := url.Parse(s.url())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
	})
	t.Cleanup(proxy.Close)
	b := s.join("b").run()
	b.Publish(local("b"))
	for _, c := range []struct {
		url      string
		protocol discoveryhttp.Protocol
	}{
		{s.url(), discoveryhttp.Auto}, {s.url(), discoveryhttp.GRPC}, {s.url(), discoveryhttp.Connect},
		{proxy.URL, discoveryhttp.Auto}, {proxy.URL, discoveryhttp.Connect},
	} {
		t.Run(string(c.protocol)+" "+c.url, func(t *testing.T) {
			a := s.join("a", func(o *discoveryhttp.Options) { o.Endpoints, o.Protocol = []string{c.url}, c.protocol }).run()
			a.Publish(local("a"))
			a.await("b")
			b.await("a")
			a.stop()
			if err := a.Leave(t.Context()); err != nil {
				t.Error(err)
			}
			b.await()
			once := func() *discoveryhttp.Client {
				return s.join("c", func(o *discoveryhttp.Options) { o.Endpoints, o.Protocol = []string{c.url}, c.protocol }).Client
			}
			for _, first := range []struct {
				name string
				call func(*discoveryhttp.Client) error
			}{
				{"fetch", func(d *discoveryhttp.Client) error { return d.Fetch(t.Context()) }},
				{"announce", func(d *discoveryhttp.Client) error { return d.Announce(t.Context(), affiliate("c")) }},
				{"remove", func(d *discoveryhttp.Client) error { return d.Remove(t.Context(), "c") }},
				{"leave", func(d *discoveryhttp.Client) error { return d.Leave(t.Context()) }},
			} {
				if err := first.call(once()); err != nil {
					t.Errorf("the first call of a client is %s: %v", first.name, err)
				}
			}
			b.await()
		})
	}
}

// certificateOf returns the certificate of a server in PEM.
func certificateOf(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// The service has a certificate that only the configured authority signed.
func TestConfiguredAuthority(t *testing.T) {
	handler := server.New(t.Context(), server.Options{Store: store.NewMemory(store.Limits{}), Limits: server.DefaultLimits(),
		Log: slog.New(slog.DiscardHandler)}).Handler()
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	ca := certificateOf(secure)
	client := func(ca string) (*discoveryhttp.Client, error) {
		return discoveryhttp.NewClient(discoveryhttp.Options{Endpoints: []string{secure.URL}, ClusterID: cluster, CA: ca, Log: slog.New(slog.DiscardHandler)})
	}
	trusting, err := client(ca)
	if err != nil {
		t.Fatal(err)
	}
	if err := trusting.Fetch(t.Context()); err != nil {
		t.Errorf("with the authority: %v", err)
	}
	doubting, err := client("")
	if err != nil {
		t.Fatal(err)
	}
	if err := doubting.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("without the authority: %v", err)
	}
	if _, err := client("nonsense"); err == nil {
		t.Error("no error for a CA that is not PEM")
	}
}

func TestPlainHTTPBeyondLoopbackIsSaid(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"http://192.0.2.1:3000": true, "http://discovery.example.com": true,
		"http://127.0.0.1:3000": false, "http://[::1]:3000": false, "http://localhost": false, "https://192.0.2.1": false,
	} {
		c, err := discoveryhttp.NewClient(discoveryhttp.Options{Endpoints: []string{endpoint}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if sessions := c.Sessions(); len(sessions) != 1 || sessions[0].Plain != want || sessions[0].URL != endpoint {
			t.Errorf("%s: got %+v", endpoint, sessions)
		}
	}
}

func TestClientNeedsAnEndpoint(t *testing.T) {
	if _, err := discoveryhttp.NewClient(discoveryhttp.Options{Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "no endpoint") {
		t.Errorf("got %v", err)
	}
}

func TestCallsFailWhereNoServiceAnswers(t *testing.T) {
	s := serve(t)
	s.stop()
	a := s.join("a")
	for name, call := range map[string]func() error{
		"publish to discovery":        func() error { return a.Announce(t.Context(), affiliate("a")) },
		"read from discovery":         func() error { return a.Fetch(t.Context()) },
		"remove the affiliate a ":     func() error { return a.Leave(t.Context()) },
		"remove the affiliate \"b\" ": func() error { return a.Remove(t.Context(), "b") },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// One warning is enough for an outage of hours; a line says when it is over.
func TestOutageIsLoggedOnce(t *testing.T) {
	s := serve(t)
	a := s.join("a").run()
	b := s.join("b").run()
	a.Publish(local("a"))
	b.await("a")
	s.stop()
	a.Publish(local("a", "192.0.2.1:1"))
	s.start()
	b.await("a 192.0.2.1:1")
	// The line is written after the affiliates are there.
	b.awaitLog(`msg="discovery connected"`, 2)
	for message, want := range map[string]int{`msg="discovery unreachable"`: 1, `msg="discovery connected"`: 2} {
		if got := strings.Count(b.log.String(), message); got != want {
			t.Errorf("%d of %s, want %d:\n%s", got, message, want, b.log)
		}
	}
}
