package discoveryhttp_test

import (
	"context"
	"errors"
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

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
)

// fakeRelay takes proofs that are the cluster's ID.
type fakeRelay struct {
	prometheus.Collector
	key mesh.Key

	mu     sync.Mutex
	full   bool
	joined []fakeJoin
	// joins has an element when another has joined.
	joins chan struct{}
}

type fakeJoin struct {
	member       mesh.Key
	withoutAgent []mesh.Key
}

var _ server.Relay = (*fakeRelay)(nil)

func newFakeRelay(key byte) *fakeRelay {
	return &fakeRelay{key: mesh.Key{key}, joins: make(chan struct{}, 1), Collector: prometheus.NewGauge(prometheus.GaugeOpts{Name: "relay_of_a_test"})}
}

func (f *fakeRelay) at(address string) func(*server.Options) {
	return func(o *server.Options) { o.Relay, o.RelayAddress = f, address }
}

func (*fakeRelay) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (f *fakeRelay) PublicKey() [32]byte { return f.key }

func (*fakeRelay) Verify(_ time.Time, clusterID string, _ [32]byte, _ time.Time, proof []byte) error {
	if string(proof) != clusterID {
		return errors.New("the proof was not made with the private key")
	}
	return nil
}

func (f *fakeRelay) Join(_ time.Time, _ string, member [32]byte, _ netip.Addr, withoutAgent [][32]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		return errors.New("relay: no room for another member")
	}
	j := fakeJoin{member: member}
	for _, k := range withoutAgent {
		j.withoutAgent = append(j.withoutAgent, k)
	}
	f.joined = append(f.joined, j)
	select {
	case f.joins <- struct{}{}:
	default:
	}
	return nil
}

func (*fakeRelay) ServeStream(http.ResponseWriter, *http.Request, netip.AddrPort) error { return nil }

// last returns the last that has joined.
func (f *fakeRelay) last() (join fakeJoin) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.joined) > 0 {
		join = f.joined[len(f.joined)-1]
	}
	return join
}

// proves is an option: the machine makes proofs.
func proves(o *discoveryhttp.Options) {
	o.Prove = func(_ mesh.PrivateKey, _ mesh.Key, clusterID string, _ time.Time) ([]byte, error) {
		return []byte(clusterID), nil
	}
}

// publicationAs returns a publication of the machine a, which joins relays.
func publicationAs(private byte) reconciler.Publication {
	p := local("a")
	p.JoinAs = mesh.SecretKey([32]byte{private})
	return p
}

// awaitRelays waits until the member has the relays with these keys.
func (m *member) awaitRelays(keys ...mesh.Key) []mesh.BlindRelay {
	m.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		relays := m.Snapshot().Relays
		var got []mesh.Key
		for _, r := range relays {
			got = append(got, r.Key)
		}
		if slices.Equal(got, keys) {
			return relays
		}
		select {
		case <-m.changed:
		case <-deadline:
			m.t.Fatalf("the relays are %v, want %v; the log:\n%s", got, keys, m.log)
		}
	}
}

func TestRelayOfAService(t *testing.T) {
	f := newFakeRelay(9)
	s := serve(t, f.at(":51821"))
	b := s.join("b").run() // as a machine without relays
	b.Publish(local("b"))
	a := s.join("a", proves).run()
	a.await("b")
	a.Publish(publicationAs(1))
	relay := a.awaitRelays(f.key)[0]
	want := mesh.BlindRelay{Key: f.key, Name: "127.0.0.1", Endpoints: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:51821")}, URL: s.url() + "/relay"}
	if !relay.Equal(want) {
		t.Errorf("the relay is %+v, want %+v", relay, want)
	}
	if got := f.last(); got.member != mesh.SecretKey([32]byte{1}).Public() || !slices.Equal(got.withoutAgent, []mesh.Key{{'b'}}) {
		t.Errorf("joined as %+v", got)
	}

	t.Run("another process has it from the cache", func(t *testing.T) {
		cache, err := a.Cache()
		if err != nil {
			t.Fatal(err)
		}
		again := s.join("a", proves, func(o *discoveryhttp.Options) { o.Cache = cache })
		if relays := again.Snapshot().Relays; len(relays) != 1 || !relays[0].Equal(want) {
			t.Errorf("the relays are %+v", relays)
		}
		again.run()
		late := s.join("late").run()
		late.Publish(local("late"))
		again.await("b", "late") // so it has heard of the service
		if relays := again.Snapshot().Relays; len(relays) != 1 {
			t.Errorf("before the machine has published itself, the relays are %+v", relays)
		}
	})
	t.Run("another key joins at once", func(t *testing.T) {
		a.Publish(publicationAs(2))
		for deadline := time.After(30 * time.Second); f.last().member != mesh.SecretKey([32]byte{2}).Public(); {
			select {
			case <-f.joins:
			case <-deadline:
				t.Fatalf("joined as %+v", f.last())
			}
		}
	})
	t.Run("a machine that wants none has none", func(t *testing.T) {
		a.Publish(local("a"))
		a.awaitRelays()
	})
}

// TestServiceWithoutARelay has none, and says nothing of it.
func TestServiceWithoutARelay(t *testing.T) {
	s := serve(t)
	cache := []byte(`{"relays":{"` + s.url() + `":{"Key":"CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","Endpoints":["192.0.2.1:1"],"Name":"relay"}}}`)
	a := s.join("a", proves, func(o *discoveryhttp.Options) { o.Cache = cache }).run()
	if relays := a.Snapshot().Relays; len(relays) != 1 {
		t.Fatalf("of the cache, the relays are %v", relays)
	}
	a.Publish(publicationAs(1))
	a.awaitRelays()
	if strings.Contains(a.log.String(), "relay") {
		t.Errorf("the log is\n%s", a.log)
	}
}

// TestServiceOfGRPCAlone has none either.
func TestServiceOfGRPCAlone(t *testing.T) {
	s := serve(t)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "RelayService") {
			http.Error(w, "invalid gRPC request content-type", http.StatusUnsupportedMediaType)
			return
		}
		target, err := url.Parse(s.url())
		if err != nil {
			t.Error(err)
			return
		}
		httputil.NewSingleHostReverseProxy(target).ServeHTTP(w, r)
	}))
	defer front.Close()
	a := s.join("a", proves, func(o *discoveryhttp.Options) {
		o.Endpoints, o.Protocol = []string{front.URL}, discoveryhttp.Connect
		o.Cache = []byte(`{"relays":{"` + front.URL + `":{"Key":"CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","Endpoints":["192.0.2.1:1"]}}}`)
	}).run()
	a.awaitRelays(mesh.Key{9})
	a.Publish(publicationAs(1))
	a.awaitRelays()
	a.stop()
	if strings.Contains(a.log.String(), "relay") {
		t.Errorf("the log is\n%s", a.log)
	}
}

// TestRelayThatIsFull is joined once it has room.
func TestRelayThatIsFull(t *testing.T) {
	f := newFakeRelay(9)
	f.full = true
	s := serve(t, f.at(":51821"))
	a := s.join("a", proves).run()
	a.Publish(publicationAs(1))
	for deadline := time.After(30 * time.Second); !strings.Contains(a.log.String(), "no room for another member"); {
		select {
		case <-a.log.grown:
		case <-deadline:
			t.Fatalf("the log is\n%s", a.log)
		}
	}
	f.mu.Lock()
	f.full = false
	f.mu.Unlock()
	a.awaitRelays(f.key)
}

// TestRelayThatIsNone is what a hostile service may say.
func TestRelayThatIsNone(t *testing.T) {
	for _, address := range []string{"", "relay", ":0", ":65536", "relay.invalid:51821"} {
		f := newFakeRelay(9)
		s := serve(t, f.at(address))
		a := s.join("a", proves).run()
		a.Publish(publicationAs(1))
		for deadline := time.After(30 * time.Second); !strings.Contains(a.log.String(), "relay not joined"); {
			select {
			case <-a.log.grown:
			case <-deadline:
				t.Fatalf("%q: the log is\n%s", address, a.log)
			}
		}
		a.awaitRelays()
		a.stop()
	}
}
