package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
)

// visit is a request for a page.
type visit struct {
	path string
	// remote is the address of the connection, and host the Host; loopback if they are empty.
	remote, host string
	header       map[string]string
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   string
}

// fetch returns what a handler answers.
func fetch(t *testing.T, h http.Handler, v visit) reply {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, v.path, nil)
	req.RemoteAddr, req.Host = "127.0.0.1:1234", "localhost:3000"
	if v.remote != "" {
		req.RemoteAddr = v.remote
	}
	if v.host != "" {
		req.Host = v.host
	}
	for name, value := range v.header {
		req.Header.Set(name, value)
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, req)
	return reply{recorder.Code, recorder.Header(), recorder.Body.String()}
}

// browser is what a browser accepts.
var browser = map[string]string{"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}

func TestPageOrShortPage(t *testing.T) {
	h := server.New(t.Context(), options(nil)).Handler()
	for _, c := range []struct {
		accept string
		page   bool
	}{
		{browser["Accept"], true}, {"text/html", true}, {"TEXT/HTML ; q=0.5", true}, {"application/json, text/html;charset=utf-8", true},
		{"", false}, {"*/*", false}, {"text/*", false}, {"application/json", false}, {"text/html;q=0", false}, {"text/html; q=x", false},
	} {
		got := fetch(t, h, visit{path: "/", header: map[string]string{"Accept": c.accept}})
		if strings.Contains(got.body, "page/page.js") != c.page || strings.Contains(got.body, "<td>Affiliates</td><td>0</td>") == c.page {
			t.Errorf("Accept %q is answered with\n%s", c.accept, got.body)
		}
		if got.status != http.StatusOK || got.header.Get("Vary") != "Accept" || got.header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("Accept %q: %d, %v", c.accept, got.status, got.header)
		}
	}
}

// TestPageIsStrict wants each answer to have the headers that keep a browser from loading anything
// from elsewhere, and the page itself to need nothing else.
func TestPageIsStrict(t *testing.T) {
	h := server.New(t.Context(), options(nil)).Handler()
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/page/page.js": "text/javascript; charset=utf-8", "/page/page.css": "text/css; charset=utf-8",
		"/page/favicon.svg": "image/svg+xml", "/page/licenses.txt": "text/plain; charset=utf-8", "/page/data?span=day": "application/json",
		"/metrics": "", "/page/nosuch": "text/plain; charset=utf-8", "/page/data?span=year": "text/plain; charset=utf-8", "/nowhere": "text/plain; charset=utf-8",
	} {
		got := fetch(t, h, visit{path: path, header: browser})
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
		} {
			if value := got.header.Get(name); value != want {
				t.Errorf("%s: %s is %q", path, name, value)
			}
		}
		if value := got.header.Get("Content-Type"); kind != "" && value != kind {
			t.Errorf("%s is %q, want %q", path, value, kind)
		}
		if body := got.body; strings.Contains(body, " style=") || strings.Contains(body, "<style") || strings.Contains(body, `href="/`) || strings.Contains(body, `src="/`) {
			t.Errorf("%s has a style of its own, or does not work below another path", path)
		}
		etag := got.header.Get("Etag")
		if etag == "" {
			continue
		}
		again := fetch(t, h, visit{path: path, header: map[string]string{"Accept": "text/html", "If-None-Match": etag}})
		if again.status != http.StatusNotModified || again.body != "" {
			t.Errorf("%s is sent again: %d", path, again.status)
		}
	}
}

func TestWhoSeesWhat(t *testing.T) {
	const stranger = "203.0.113.9:4000"
	local := visit{}
	visits := map[string]visit{
		"this machine":                          local,
		"this machine, by IPv6":                 {remote: "[::1]:5", host: "[::1]:3000"},
		"this machine, without a port":          {host: "127.0.0.1"},
		"a stranger":                            {remote: stranger, host: "discovery.example.com"},
		"a stranger that claims loopback":       {remote: stranger, host: "localhost", header: map[string]string{"X-Forwarded-For": "127.0.0.1"}},
		"a proxy here":                          {header: map[string]string{"X-Forwarded-For": "203.0.113.9"}},
		"a proxy here with X-Real-IP":           {header: map[string]string{"X-Real-IP": "127.0.0.1"}},
		"a proxy here with Forwarded":           {header: map[string]string{"Forwarded": "for=203.0.113.9"}},
		"a proxy here with Via":                 {header: map[string]string{"Via": "1.1 proxy"}},
		"a proxy here that sets no header":      {host: "discovery.example.com"},
		"a site whose name leads to loopback":   {host: "rebound.example.com:3000"},
		"a site whose name begins as loopback":  {host: "127.0.0.1.example.com:3000"},
		"a site whose name begins as localhost": {host: "localhost.example.com"},
	}
	for _, c := range []struct {
		page, metrics   server.Access
		here, elsewhere string
		// metricsHere and metricsElsewhere are the statuses of the metrics.
		metricsHere, metricsElsewhere int
	}{
		{"", "", "everything", "nothing", 200, 200},
		{server.Private, server.Private, "everything", "nothing", 200, 404},
		{server.Public, server.Public, "everything", "rounded", 200, 200},
		{server.Off, server.Off, "", "", 404, 404},
	} {
		h := server.New(t.Context(), options([]func(*server.Options){func(o *server.Options) {
			o.Page, o.Metrics = c.page, c.metrics
		}})).Handler()
		for name, v := range visits {
			want, status := c.elsewhere, c.metricsElsewhere
			if strings.HasPrefix(name, "this machine") {
				want, status = c.here, c.metricsHere
			}
			v.path = "/page/data?span=now"
			got := fetch(t, h, v)
			var shown struct{ Shows string }
			if got.status == http.StatusOK {
				if err := json.Unmarshal([]byte(got.body), &shown); err != nil {
					t.Fatal(err)
				}
			}
			if shown.Shows != want || (got.status == http.StatusNotFound) != (c.page == server.Off) {
				t.Errorf("--page %q shows %s: %d, %q, want %q", c.page, name, got.status, shown.Shows, want)
			}
			v.path = "/metrics"
			if got := fetch(t, h, v); got.status != status {
				t.Errorf("--metrics %q answers %s with %d", c.metrics, name, got.status)
			}
			v.path = "/"
			if got := fetch(t, h, v); strings.Contains(got.body, "Clusters") != (want == "everything") {
				t.Errorf("--page %q: the short page for %s is\n%s", c.page, name, got.body)
			}
		}
	}
}

// TestNobodyIsLocalBehindAProxy calls a server through a forwarder of bytes, which adds no header, with
// the Host of a local browser.
func TestNobodyIsLocalBehindAProxy(t *testing.T) {
	for _, network := range []string{"127.0.0.0/8", "10.0.0.0/8"} {
		address, _ := start(t, func(o *server.Options) {
			o.Page, o.Metrics = server.Private, server.Private
			o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(network)}
		})
		through := forwarder(t, strings.TrimPrefix(address, "http://"))
		for _, host := range []string{"localhost", "127.0.0.1:3000", "[::1]", "disc.example.com"} {
			for path, want := range map[string]int{"/page/data?span=now": http.StatusOK, "/metrics": http.StatusNotFound} {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+through+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				request.Host, request.Close = host, true
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(response.Body)
				if err = errors.Join(err, response.Body.Close()); err != nil {
					t.Fatal(err)
				}
				if response.StatusCode != want || want == http.StatusOK && !strings.Contains(string(body), `"shows":"nothing"`) {
					t.Errorf("behind a proxy of %s, Host %s gets %d %s from %s", network, host, response.StatusCode, body, path)
				}
			}
		}
	}
}

// forwarder passes the bytes of connections on to an address, and returns its own.
func forwarder(t *testing.T, to string) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go forward(t.Context(), from, to)
		}
	}()
	return listener.Addr().String()
}

// forward passes the bytes of a connection on to an address, both ways, until one end closes.
func forward(ctx context.Context, from net.Conn, to string) {
	defer func() { _ = from.Close() }()
	other, err := new(net.Dialer).DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(other, from)
		_ = other.Close()
	}()
	_, _ = io.Copy(from, other)
}

// planted are what nobody may find in an answer.
var planted = []string{"planted-cluster", "planted-affiliate", "cGxhbnRlZC1kYXRh", "planted-data", "planted-endpoint", "198.51.100.7", "planted-token"}

// TestNothingIdentifies makes calls with what could be recognized, and looks for it in all answers
// to all audiences.
func TestNothingIdentifies(t *testing.T) {
	s := server.New(t.Context(), options([]func(*server.Options){func(o *server.Options) {
		o.Page = server.Public
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}}))
	h := s.Handler()
	served := httptest.NewServer(h)
	t.Cleanup(served.Close)
	client := serverpbconnect.NewClusterClient(http.DefaultClient, served.URL)
	for i := range 12 {
		update := updateRequest("planted-cluster-"+strconv.Itoa(i), "planted-affiliate", "planted-data")
		update.Msg.AffiliateEndpoints = [][]byte{[]byte("planted-endpoint")}
		update.Header().Set("X-Forwarded-For", "198.51.100.7")
		update.Header().Set("Authorization", "Bearer planted-token")
		if _, err := client.AffiliateUpdate(t.Context(), update); err != nil {
			t.Fatal(err)
		}
	}
	refused := connect.NewRequest(&serverpb.ListRequest{ClusterId: "planted-cluster\x01"})
	if _, err := client.List(t.Context(), refused); err == nil {
		t.Error("a list with a bad ID is answered")
	}
	s.RecordOnce(t.Context())
	for path, want := range map[string]string{
		"/":                    "<td>Affiliates</td><td>12</td>",
		"/page/data?span=now":  `"affiliates":12`,
		"/page/data?span=hour": `"endpoints":[12]`,
		"/page/data?span=day":  `"clusters":[12]`,
		"/page/page.js":        "Discovery",
		"/healthz":             "ok",
		"/readyz":              "ok",
		"/metrics":             `spanctl_discovery_calls_total{code="ok",method="AffiliateUpdate"} 12`,
	} {
		for _, v := range []visit{{path: path}, {path: path, header: browser}, {path: path, remote: "198.51.100.7:1", host: "discovery.example.com"}} {
			got := fetch(t, h, v)
			if got.status != http.StatusOK || !strings.Contains(got.body, want) && v.header == nil {
				t.Errorf("%s: %d\n%s", path, got.status, got.body)
			}
			for _, secret := range planted {
				if strings.Contains(got.body, secret) {
					t.Errorf("%s has %q", path, secret)
				}
			}
		}
	}
}

// TestPageFollowsCalls looks at the page of a server that runs, as it is called.
func TestPageFollowsCalls(t *testing.T) {
	s := server.New(t.Context(), options(nil))
	h := s.Handler()
	served := httptest.NewServer(h)
	t.Cleanup(served.Close)
	s.RecordOnce(t.Context())
	client := serverpbconnect.NewClusterClient(http.DefaultClient, served.URL)
	for range 5 {
		if _, err := client.AffiliateUpdate(t.Context(), updateRequest("c", "a", "x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.List(t.Context(), connect.NewRequest(&serverpb.ListRequest{})); err == nil {
		t.Error("a list without an ID is answered")
	}
	s.RecordAfter(t.Context(), time.Minute)
	got := fetch(t, h, visit{path: "/page/data?span=now"})
	var shown struct {
		Now   map[string]*float64
		Store struct{ Kind string }
	}
	if err := json.Unmarshal([]byte(got.body), &shown); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"clusters": 1, "affiliates": 1, "calls.AffiliateUpdate": .083, "calls.List": .016, "refusals.invalid": .016, "refusals.limit": 0} {
		if value := shown.Now[name]; value == nil || *value < want*.95 || *value > want*1.05 {
			t.Errorf("%s is not %v in\n%s", name, want, got.body)
		}
	}
	if shown.Now["p50.AffiliateUpdate"] == nil || *shown.Now["p50.AffiliateUpdate"] <= 0 || shown.Now["p50.Hello"] != nil {
		t.Errorf("the latencies are in\n%s", got.body)
	}
	if shown.Store.Kind != "memory" {
		t.Errorf("the store is %q", shown.Store.Kind)
	}
}

func TestPageOfAnAddressIsLimited(t *testing.T) {
	h := server.New(t.Context(), options(nil)).Handler()
	limited := 0
	for range 1000 {
		got := fetch(t, h, visit{path: "/page/data?span=now", remote: "203.0.113.9:1"})
		if got.status == http.StatusTooManyRequests {
			limited++
			if got.header.Get("Retry-After") == "" {
				t.Fatal("a refusal does not say when to come again")
			}
		}
	}
	if limited < 300 {
		t.Errorf("of 1000 requests at once, %d are refused", limited)
	}
	if got := fetch(t, h, visit{path: "/page/data?span=now", remote: "203.0.113.10:1"}); got.status != http.StatusOK {
		t.Errorf("another address is answered with %d", got.status)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := fetch(t, h, visit{path: path, remote: "203.0.113.9:1"}); got.status != http.StatusOK {
			t.Errorf("%s is answered with %d", path, got.status)
		}
	}
}

// stuckWriter is the response of a client that takes nothing.
type stuckWriter struct {
	*httptest.ResponseRecorder
	begun chan<- struct{}
	ctx   context.Context //nolint:containedctx // the life of the client
}

func (w stuckWriter) Write([]byte) (int, error) {
	w.begun <- struct{}{}
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}

// TestUntakenPagesAreBounded has clients that do not take what they asked for: each counts for its
// address, and probes have a limit of their own.
func TestUntakenPagesAreBounded(t *testing.T) {
	for path, most := range map[string]int{"/": 24, "/page/page.js": 24, "/page/data?span=hour": 24, "/metrics": 24, "/nowhere": 24, "//": 24, "/healthz": 16, "/readyz": 16} {
		t.Run(path, func(t *testing.T) {
			h := server.New(t.Context(), options(nil)).Handler()
			ctx, leave := context.WithCancel(t.Context())
			begun, ended := make(chan struct{}, 100), make(chan struct{}, 100)
			for range most {
				go func() {
					req := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
					req.URL, _ = url.Parse("http://discovery" + path)
					req.Header.Set("Accept", "text/html")
					h.ServeHTTP(stuckWriter{httptest.NewRecorder(), begun, ctx}, req)
					ended <- struct{}{}
				}()
			}
			for range most {
				<-begun
			}
			refused := fetch(t, h, visit{path: path, remote: "192.0.2.1:9"}) // the address of httptest's requests
			if refused.status != http.StatusTooManyRequests || refused.header.Get("Connection") != "close" {
				t.Errorf("one more is answered with %d", refused.status)
			}
			others := map[string]int{"/": 200, "/healthz": 200}
			delete(others, map[int]string{24: "/", 16: "/healthz"}[most])
			for path, want := range others {
				if other := fetch(t, h, visit{path: path, remote: "192.0.2.1:9"}); other.status != want {
					t.Errorf("%s is answered with %d", path, other.status)
				}
			}
			leave()
			for range most {
				<-ended
			}
			if again := fetch(t, h, visit{path: path, remote: "192.0.2.1:9"}); again.status == http.StatusTooManyRequests {
				t.Error("those that are gone count still")
			}
		})
	}
}

// TestConnectionWithTooManyOpenIsClosed opens more on one connection of HTTP/2 than an address may
// have, and takes nothing: nothing is kept of what is refused.
func TestConnectionWithTooManyOpenIsClosed(t *testing.T) {
	const most = 20
	for _, c := range []struct {
		name, method, path string
		// proxied is set if the connection is that of a trusted proxy.
		proxied bool
		open    int
	}{
		{"calls", http.MethodPost, serverpbconnect.ClusterHelloProcedure, false, most},
		{"calls by a proxy", http.MethodPost, serverpbconnect.ClusterHelloProcedure, true, most},
		{"pages", http.MethodGet, "/page/page.js", false, 24},
		{"pages by a proxy", http.MethodGet, "/page/page.js", true, 24},
		{"probes", http.MethodGet, "/healthz", false, 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address, _ := start(t, func(o *server.Options) {
				o.Limits.CallsPerAddress = most
				if c.proxied {
					o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				}
			})
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(address, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			frames := openStreams(t, conn, c.method, c.path, c.open+1)
			refused := 0
			for {
				frame, err := frames.ReadFrame()
				if err != nil {
					if c.proxied {
						t.Errorf("the connection of a proxy is closed: %v", err)
					}
					return
				}
				h, isHeaders := frame.(*http2.MetaHeadersFrame)
				if isHeaders && h.PseudoValue("status") == "429" {
					refused++
					if !c.proxied || !h.StreamEnded() {
						t.Errorf("a call is refused with %v", h)
					}
					if refused == 1 {
						return
					}
				}
			}
		})
	}
}

// openStreams opens streams with a window of 0.
func openStreams(t *testing.T, conn net.Conn, method, path string, n int) *http2.Framer {
	t.Helper()
	frames := http2.NewFramer(conn, conn)
	frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := io.WriteString(conn, http2.ClientPreface)
	check(err)
	check(frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize}))
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := range n {
		block.Reset()
		for _, f := range []hpack.HeaderField{
			{Name: ":method", Value: method}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: path}, {Name: ":authority", Value: "discovery"},
			{Name: "content-type", Value: "application/json"}, {Name: "x-real-ip", Value: "203.0.113.9"},
		} {
			check(encoder.WriteField(f))
		}
		stream, body := uint32(2*i+1), []byte(`{"clusterId":"c"}`)
		check(frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: method == http.MethodGet}))
		if method == http.MethodPost {
			check(frames.WriteData(stream, true, body))
		}
	}
	return frames
}
