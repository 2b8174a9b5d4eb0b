package doctor

import (
	"context"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/schema"
)

// plainDial connects without a mark.
func plainDial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

func TestAskService(t *testing.T) {
	date := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", date.Format(http.TimeFormat))
		w.WriteHeader(http.StatusNotFound)
	})
	secure, open := httptest.NewTLSServer(handler), httptest.NewServer(handler)
	defer secure.Close()
	defer open.Close()
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))

	s := askService(t.Context(), secure.URL, authority, plainDial)
	if s.Fault != "" || !s.Date.Equal(date) || s.TLS == nil || s.TLS.Fault.Class != "" || !s.TLS.NotAfter.Equal(secure.Certificate().NotAfter) {
		t.Errorf("a service with TLS is %+v, %+v", s, s.TLS)
	}
	if s = askService(t.Context(), secure.URL, "", plainDial); s.TLS == nil || !strings.HasSuffix(s.TLS.Fault.Text, "which is not trusted here") {
		t.Errorf("a service that is not trusted is %+v, %+v", s, s.TLS)
	}
	elsewhere := strings.Replace(secure.URL, "127.0.0.1", "localhost", 1)
	if s = askService(t.Context(), elsewhere, authority, plainDial); s.TLS == nil || !strings.HasPrefix(s.TLS.Fault.Text, "the certificate is for example.com") {
		t.Errorf("a service of another name is %+v, %+v", s, s.TLS)
	}
	if s = askService(t.Context(), open.URL, "", plainDial); s.Fault != "" || s.TLS != nil || !s.Date.Equal(date) {
		t.Errorf("a service without TLS is %+v", s)
	}
	if s = askService(t.Context(), strings.Replace(open.URL, "http:", "https:", 1), "", plainDial); s.Fault != "what answers does not speak TLS, but plain HTTP" {
		t.Errorf("a service that should have TLS is %+v", s)
	}
	open.Close()
	withPassword := strings.Replace(open.URL, "http://", "http://me:hunter2@", 1)
	s = askService(t.Context(), withPassword, "", plainDial)
	if s.Fault != "connection refused" || strings.Contains(s.URL, "hunter2") {
		t.Errorf("a service that is gone is %+v", s)
	}
}

func TestProxyIsShownWithoutPassword(t *testing.T) {
	// Proxies are read once in a process, and never for this machine.
	if s := askService(t.Context(), "http://127.0.0.1:1/", "", plainDial); s.Proxy != "" {
		t.Errorf("the proxy for this machine is %q", s.Proxy)
	}
}

func TestModulesAreListed(t *testing.T) {
	list := filepath.Join(t.TempDir(), "modules.dep")
	if err := os.WriteFile(list, []byte("kernel/drivers/net/wireguard/wireguard.ko.zst: kernel/lib/crypto/libcurve25519.ko.zst\nkernel/net/tunnel4.ko:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"wireguard": true, "tunnel4": true, "libcurve25519": false, "guard": false} {
		if got := listed(list, name+".ko"); got != want {
			t.Errorf("%s is listed: %v", name, got)
		}
	}
}

// TestGather gathers on the machine of the test, with a service that does not answer.
func TestGather(t *testing.T) {
	config := &schema.Config{}
	config.KubeSpan().InterfaceName, config.KubeSpan().ListenPort = "no-such-link", 1
	config.Cluster.Discovery.Enabled = true
	config.Cluster.Discovery.Registries.Service.Endpoint = "http://127.0.0.1:1/"
	f := Gather(t.Context(), Request{AgentPID: os.Getpid(), Config: config, Peers: func(context.Context) []Peer { return []Peer{{Name: "db1"}} }})
	if f.Agent == nil || !f.Agent.Known || f.Host.HasLink || len(f.Services) != 1 || f.Services[0].Fault != "connection refused" ||
		len(f.Peers) != 1 || len(f.Host.Rules) == 0 || f.Host.Sysctls["ipv4/ip_forward"] == "" {
		t.Errorf("the facts are %+v", f)
	}
	silent := Request{AgentPID: os.Getpid(), Silent: condition.Condition{Code: condition.NoAgent}, Peers: func(context.Context) []Peer { return []Peer{{Name: "db1"}} }}
	if f = Gather(t.Context(), silent); f.Agent == nil || f.Peers != nil || f.Silent.Code == "" {
		t.Errorf("an agent that does not answer was asked: %+v", f)
	}
}
