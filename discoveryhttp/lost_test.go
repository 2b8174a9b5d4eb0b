package discoveryhttp_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
)

// TestFailureNamesTheProxy has a proxy in the environment that does not run, and one that refuses.
func TestFailureNamesTheProxy(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(refusing.Close)
	s := serve(t)
	for _, c := range []struct {
		name, proxy, endpoint, text string
		class                       failure.Class
	}{
		{"plain", dead, "http://192.0.2.1:3000", "connection refused", failure.Refused},
		{"TLS", dead, "https://192.0.2.1:3000", "connection refused", failure.Refused},
		{"refused", strings.TrimPrefix(refusing.URL, "http://"), "https://192.0.2.1:3000", "HTTP status 403 Forbidden", failure.Status},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
				t.Setenv(name, "http://user:hidden@"+c.proxy)
			}
			m := s.join("a", func(o *discoveryhttp.Options) { o.Endpoints = []string{c.endpoint} }).run()
			defer m.stop()
			x := m.awaitSession(func(x health.Session) bool { return x.State == health.Failed })
			proxy := "http://user:xxxxx@" + c.proxy
			if want := "through the proxy " + proxy + ": " + c.text; x.Failure.Text != want || x.Failure.Proxy != proxy || x.Failure.Class != c.class {
				t.Errorf("got %+v, want %q", x.Failure, want)
			}
			if strings.Contains(m.log.String(), "hidden") {
				t.Errorf("the log has the password:\n%s", m.log)
			}
		})
	}
}

// TestFailureOfAConnectionThatIsLost has a service whose connection breaks within an answer.
func TestFailureOfAConnectionThatIsLost(t *testing.T) {
	url := serveLost(t)
	s := serve(t)
	m := s.join("a", func(o *discoveryhttp.Options) { o.Endpoints = []string{url} }).run()
	x := m.awaitSession(func(x health.Session) bool { return x.State == health.Failed })
	if x.Failure.Class != failure.Closed || strings.Contains(x.Failure.Text, "envelope") || !strings.Contains(x.Failure.Text, "connection was") {
		t.Errorf("got %+v", x.Failure)
	}
}

// serveLost serves answers that end in their first message, and returns its URL.
func serveLost(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc+proto")
		_, _ = w.Write([]byte{0, 0, 0})
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}
