package discoveryhttp_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
)

// await waits until a session of the client is as wanted, and returns it.
func (m *member) awaitSession(want func(health.Session) bool) health.Session {
	m.t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for {
		x := m.Sessions()[0]
		if want(x) {
			return x
		}
		select {
		case <-m.changed:
		case <-deadline.C:
			m.t.Fatalf("the session is %+v", x)
		}
	}
}

func TestSessionGoesThroughItsStates(t *testing.T) {
	s := serve(t)
	s.stop()
	m := s.join("a")
	if x := m.Sessions()[0]; x.State != health.Connecting || !x.Heard.IsZero() || x.URL != s.url() {
		t.Errorf("before the first try: %+v", x)
	}
	m.run()
	x := m.awaitSession(func(x health.Session) bool { return x.State == health.Failed })
	if x.Failure.Class != failure.Refused || x.Failure.Text != "connection refused" || !x.Heard.IsZero() || !x.NextTry.After(x.Since) || x.Failures[failure.Refused] == 0 {
		t.Errorf("nobody listens: %+v", x)
	}
	s.start()
	x = m.awaitSession(func(x health.Session) bool { return x.State == health.Connected })
	if x.Heard.IsZero() || x.Failure.Class != "" || !x.NextTry.IsZero() || x.SkewAt.IsZero() || x.Skew.Abs() > 30*time.Second {
		t.Errorf("connected: %+v", x)
	}
	since := x.Since
	s.stop()
	x = m.awaitSession(func(x health.Session) bool { return x.State == health.Failed })
	if x.Heard.Before(since) || x.Since.Before(since) {
		t.Errorf("heard before, and failed: %+v", x)
	}
}

// proxy serves what do makes of a service's answers, and returns its URL.
func proxy(t *testing.T, s *service, do func(*http.Response)) string {
	t.Helper()
	target, err := url.Parse(s.url())
	if err != nil {
		t.Fatal(err)
	}
	p := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			do(r)
			return nil
		}})
	t.Cleanup(p.Close)
	return p.URL
}

func TestClockOfTheService(t *testing.T) {
	s := serve(t)
	const ahead = 3 * time.Hour
	shifted := proxy(t, s, func(r *http.Response) { r.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat)) })
	m := s.join("a", func(o *discoveryhttp.Options) { o.Endpoints, o.Protocol = []string{shifted}, discoveryhttp.Connect }).run()
	x := m.awaitSession(func(x health.Session) bool { return x.State == health.Connected })
	if (x.Skew + ahead).Abs() > 10*time.Second {
		t.Errorf("%v ahead of a clock that is %v ahead", x.Skew, ahead)
	}
}

func TestFailureHasTheStatusOfHTTP(t *testing.T) {
	for _, protocol := range []discoveryhttp.Protocol{discoveryhttp.Connect, discoveryhttp.GRPC} {
		refuses := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "go away", http.StatusForbidden) }), Protocols: new(http.Protocols)}
		refuses.Protocols.SetHTTP1(true)
		refuses.Protocols.SetUnencryptedHTTP2(true)
		front := httptest.NewUnstartedServer(refuses.Handler)
		front.Config = refuses
		front.Start()
		m := serve(t).join("a", func(o *discoveryhttp.Options) { o.Endpoints, o.Protocol = []string{front.URL}, protocol }).run()
		x := m.awaitSession(func(x health.Session) bool { return x.State == health.Failed })
		if x.Failure.Class != failure.Status || x.Failure.Text != "HTTP status 403 Forbidden" {
			t.Errorf("by %s: %+v", protocol, x.Failure)
		}
		m.stop()
		front.Close()
	}
}

func TestFailureOfTLS(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for endpoint, class := range map[string]failure.Class{
		secure.URL: failure.UnknownAuthority,
		strings.Replace(plain.URL, "http://", "https://", 1): failure.PlainHTTP,
	} {
		m := serve(t).join("a", func(o *discoveryhttp.Options) { o.Endpoints, o.Protocol = []string{endpoint}, discoveryhttp.Connect }).run()
		if x := m.awaitSession(func(x health.Session) bool { return x.State == health.Failed }); x.Failure.Class != class {
			t.Errorf("%s: %+v", endpoint, x.Failure)
		}
		m.stop()
	}
}
