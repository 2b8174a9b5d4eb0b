package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// listening returns a config that asks for metrics at an address.
func listening(t *testing.T, listen string) *schema.Config {
	t.Helper()
	config := &schema.Config{}
	config.KubeSpan().Enabled = true
	config.KubeSpan().Addresses = []netip.Prefix{netip.MustParsePrefix("10.99.0.1/24")}
	if err := config.Machine.Metrics.Listen.UnmarshalText([]byte(listen)); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestListenersAreOnLoopbackAndInTheMeshOnly(t *testing.T) {
	identity := &resource.IdentitySpec{Address: netip.MustParsePrefix("fd00::7/128")}
	off := listening(t, "mesh:9851")
	off.KubeSpan().Enabled = false
	loopback := listening(t, "127.0.0.1:9851")
	loopback.KubeSpan().Enabled = false
	for _, c := range []struct {
		name     string
		config   *schema.Config
		identity *resource.IdentitySpec
		want     string
		err      error
	}{
		{"without a config nowhere", nil, nil, "", nil},
		{"not asked for", listening(t, ""), identity, "", nil},
		{"loopback", listening(t, "[::1]:9851"), nil, "[::1]:9851", nil},
		{"loopback without a mesh", loopback, nil, "127.0.0.1:9851", nil},
		{"the machine's own address", listening(t, "mesh:9851"), identity, "[fd00::7]:9851", nil},
		{"the same, written out", listening(t, "[fd00::7]:9851"), identity, "[fd00::7]:9851", nil},
		{"another of the config", listening(t, "10.99.0.1:9851"), identity, "10.99.0.1:9851", nil},
		{"not before the mesh is up", listening(t, "10.99.0.1:9851"), nil, "", nil},
		{"of another machine in the mesh", listening(t, "[fd00::8]:9851"), identity, "", errNotOurs},
		{"of another link", listening(t, "192.0.2.1:9851"), identity, "", errNotOurs},
		{"in a mesh that is not enabled", off, identity, "", errDisabled},
	} {
		var listen schema.ListenAddress
		if c.config != nil {
			listen = c.config.Machine.Metrics.Listen
		}
		at, err := listenAddress(listen, c.config, c.identity)
		got := ""
		if at.IsValid() {
			got = at.String()
		}
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v; want %q, %v", c.name, got, err, c.want, c.err)
		}
	}
}

func TestListenerUnavailable(t *testing.T) {
	var listen schema.ListenAddress
	if err := listen.UnmarshalText([]byte("127.0.0.1:80")); err != nil {
		t.Fatal(err)
	}
	l := &listener{offer: metricsOffer(http.NotFoundHandler())}
	for err, want := range map[error]string{
		errNotOurs:            `neither a loopback address nor one of this machine in the mesh: set machine.metrics.listen to "mesh:80"`,
		errDisabled:           "so there is no mesh: set machine.metrics.listen to a loopback address",
		syscall.EADDRINUSE:    "another program listens there: end it",
		syscall.EADDRNOTAVAIL: "does not have the address now",
		syscall.EACCES:        "ports below 1024: set machine.metrics.listen to a port from 1024",
		io.ErrUnexpectedEOF:   "the metrics cannot be served there: listen: unexpected EOF",
	} {
		if got := l.unavailable(listen, fmt.Errorf("listen: %w", err)).String(); !strings.HasPrefix(got, "MetricsUnavailable 127.0.0.1:80: ") || !strings.Contains(got, want) {
			t.Errorf("%v becomes %q", err, got)
		}
	}
}

// listened is a listener that runs.
type listened struct {
	store    *resource.Store
	reported chan []condition.Condition
}

// scraped is a listener that serves metrics.
func scraped(t *testing.T) *listened {
	return listenFor(t, metricsOffer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "spanctl_ready 1\n") })))
}

func listenFor(t *testing.T, o offer) *listened {
	s := &listened{store: &resource.Store{}, reported: make(chan []condition.Condition)}
	ctx, stop := context.WithCancel(t.Context())
	l := &listener{offer: o, store: s.store, log: slog.New(slog.DiscardHandler),
		report: func(found ...condition.Condition) {
			select {
			case s.reported <- found:
			case <-ctx.Done():
			}
		}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return s
}

// configure puts a config in force, and awaits the report that its address leads to.
func (s *listened) configure(t *testing.T, listen string) []condition.Condition {
	t.Helper()
	return s.follow(t, listening(t, listen))
}

func (s *listened) follow(t *testing.T, config *schema.Config) []condition.Condition {
	t.Helper()
	s.store.Replace(time.Now(), resource.MachineConfigs, map[string]any{"machine": resource.MachineConfig{Config: config}})
	return s.report(t)
}

func (s *listened) report(t *testing.T) []condition.Condition {
	t.Helper()
	select {
	case found := <-s.reported:
		return found
	case <-time.After(time.Minute):
		t.Fatal("nothing is reported")
		return nil
	}
}

// get returns the answer of a request.
func get(t *testing.T, url string) (status int, text string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), errors.Join(err, response.Body.Close())
}

// occupy returns a listener at a free port of loopback.
func occupy(t *testing.T) net.Listener {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// TestMetricsFollowTheConfig moves the metrics to an address that is taken, which becomes free, and
// away from it.
func TestMetricsFollowTheConfig(t *testing.T) {
	s := scraped(t)
	other := occupy(t)
	address := other.Addr().String()
	found := s.configure(t, address)
	if len(found) != 1 || found[0].Code != condition.MetricsUnavailable || found[0].Subject != address || found[0].Cause != "another program listens there" {
		t.Fatalf("for a port that is taken the conditions are %+v", found)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	for len(found) > 0 { // it is tried again
		found = s.report(t)
	}
	if status, text, err := get(t, "http://"+address+"/metrics"); err != nil || status != http.StatusOK || text != "spanctl_ready 1\n" {
		t.Errorf("the metrics are %d %q, %v", status, text, err)
	}
	for _, path := range []string{"/", "/metrics/", "/spanctl.v1.AgentService/List"} {
		if status, text, err := get(t, "http://"+address+path); err != nil || status != http.StatusNotFound {
			t.Errorf("%s is answered with %d %q, %v", path, status, text, err)
		}
	}
	if found := s.configure(t, "192.0.2.1:9851"); len(found) != 0 {
		t.Errorf("until the mesh is up the conditions are %+v", found)
	}
	if _, _, err := get(t, "http://"+address+"/metrics"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("at the address before: %v", err)
	}
	s.store.Replace(time.Now(), resource.Identities, map[string]any{"local": resource.IdentitySpec{Address: netip.MustParsePrefix("fd00::7/128")}})
	if found := s.report(t); len(found) != 1 || !strings.Contains(found[0].Cause, "neither a loopback address") {
		t.Errorf("for the address of another link the conditions are %+v", found)
	}
	if found := s.configure(t, ""); len(found) != 0 {
		t.Errorf("for no address the conditions are %+v", found)
	}
}

// listenTo returns a free address of loopback at which an offer is served.
func listenTo(t *testing.T, o offer) (address string) {
	t.Helper()
	free := occupy(t)
	address = free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	if found := listenFor(t, o).configure(t, address); len(found) > 0 {
		t.Fatalf("the conditions are %+v", found)
	}
	return address
}

// TestSilentScrapersKeepNobodyOut opens more connections than have place and sends nothing, to a server
// that waits for as long as it takes.
func TestSilentScrapersKeepNobodyOut(t *testing.T) {
	o := metricsOffer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server := o.server
	o.server = func(secret string) *http.Server {
		s := server(secret)
		s.ReadHeaderTimeout, s.ReadTimeout = 0, 0
		return s
	}
	address := listenTo(t, o)
	for range 2 * maxScrapers {
		dial(t, address)
	}
	if status, _, err := get(t, "http://"+address+"/metrics"); err != nil || status != http.StatusOK {
		t.Errorf("beside silent clients: %d, %v", status, err)
	}
}

// TestSlowClientsOfMetrics has clients that send nothing, or too much: they are closed.
func TestSlowClientsOfMetrics(t *testing.T) {
	address := listenTo(t, metricsOffer(http.NotFoundHandler()))
	awaitClosed(t, dial(t, address))
	long := dial(t, address)
	if _, err := io.WriteString(long, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	answer := make([]byte, 64)
	if n, err := long.Read(answer); err == nil && !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 431 ") || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a header of 64 KiB is answered with %q, %v", answer[:n], err)
	}
}
