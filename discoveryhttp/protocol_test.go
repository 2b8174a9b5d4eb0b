package discoveryhttp_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/spanmesh/span/discoveryhttp"
)

// TestProxyForHTTP1IsNoFault has an agent that starts behind a proxy for HTTP/1.1, which gRPC
// does not pass.
func TestProxyForHTTP1IsNoFault(t *testing.T) {
	s := serve(t)
	target, err := url.Parse(s.url())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
	})
	t.Cleanup(proxy.Close)
	s.join("b").run().Publish(local("b"))
	a := s.join("a", func(o *discoveryhttp.Options) { o.Endpoints, o.Protocol = []string{proxy.URL}, discoveryhttp.Auto }).run()
	a.await("b")
	a.stop()
	text := a.log.String()
	for want, count := range map[string]int{
		"level=WARN msg=\"discovery unreachable":    0,
		"discovery does not answer by gRPC; trying": 1,
		"protocol=connect":                          1,
	} {
		if got := strings.Count(text, want); got != count {
			t.Errorf("%q is logged %d times, want %d:\n%s", want, got, count, text)
		}
	}
}

// TestOutageOfBothProtocolsIsAWarning has a service that answers neither protocol.
func TestOutageOfBothProtocolsIsAWarning(t *testing.T) {
	broken := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	broken.Config.Protocols = new(http.Protocols)
	broken.Config.Protocols.SetHTTP1(true)
	broken.Config.Protocols.SetUnencryptedHTTP2(true)
	broken.Start()
	t.Cleanup(broken.Close)
	a := serve(t).join("a", func(o *discoveryhttp.Options) { o.Endpoints = []string{broken.URL} }).run()
	for !strings.Contains(a.log.String(), "discovery unreachable") {
		<-a.log.grown
	}
	a.stop()
	text := a.log.String()
	if strings.Count(text, "level=WARN msg=\"discovery unreachable") != 1 || strings.Count(text, "trying Connect") != 1 {
		t.Errorf("the log is\n%s", text)
	}
}
