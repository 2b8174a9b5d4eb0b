package discovery_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

func TestDiscoveryKeepsAffiliatesOverARestart(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 3)
	store := "bolt:" + filepath.Join(m.Discovery.Dir, "discovery.db")
	m.Serve("--store", store)
	first, second, third := m.Machines[0], m.Machines[1], m.Machines[2]
	first.Agent.Start()
	second.Agent.Start()
	first.API.AwaitPeersUp(1)
	second.API.AwaitPeersUp(1)
	m.Server.Kill()
	// The agents are stopped, so only the server knows the machines.
	for _, machine := range []*harness.Machine{first, second} {
		machine.Agent.Terminate()
	}
	m.Serve("--store", store)
	third.Agent.Start()
	third.API.AwaitMember("node-1")
	third.API.AwaitMember("node-2")

	t.Run("agents reconnect", func(t *testing.T) {
		first.Agent.Start()
		second.Agent.Start()
		m.AwaitUp()
		m.Server.Terminate()
		first.Agent.AwaitOutput("discovery unreachable")
		m.Serve("--store", store)
		late := m.Add("late")
		late.Files.WriteConfig(m.Config)
		late.Agent.Start()
		m.Machines = append(m.Machines, late)
		m.AwaitUp()
	})
}

func TestDiscoveryBeyondLoopbackRequiresTLS(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 2)
	m.Discovery.CLI.Try("discovery", "serve", "--listen", ":"+harness.DiscoveryPort).WantStatus(t, 1).WantStderr(t, "give --tls-cert and --tls-key, or --insecure")
	certificate, key := m.Discovery.Files.Certificate()
	m.Server = m.Discovery.CLI.Start("discovery", "serve", "--listen", ":"+harness.DiscoveryPort, "--tls-cert", certificate, "--tls-key", key)
	m.Server.AwaitOutput("serving discovery")
	for _, machine := range m.Machines {
		machine.Files.WriteConfig(strings.Replace(m.Config, "http://", "https://", 1))
		// The machine trusts the certificate.
		agent := machine.Spanctl(t.Context(), "run")
		agent.Env = append(agent.Env, "SSL_CERT_FILE="+certificate)
		machine.Agent.StartCommand(agent)
	}
	m.AwaitUp()
	harness.WantNoText(t, "the conditions", m.Machines[0].CLI.Run("get", "conditions"), "DiscoveryPlain")

	t.Run("a certificate that is not trusted is refused", func(t *testing.T) {
		late := m.Add("late")
		late.Files.WriteConfig(strings.Replace(m.Config, "http://", "https://", 1))
		late.Agent.Start()
		late.Agent.AwaitOutput("certificate signed by unknown authority")
	})
}

// TestProtocolByHand calls the server in JSON, as with curl(1).
func TestProtocolByHand(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 0)
	m.Serve()
	for _, c := range []struct {
		method, body string
		status       int
		want         string
	}{
		{"Hello", `{"clusterId":"c","clientVersion":"curl"}`, http.StatusOK, `"clientIp":`},
		{"AffiliateUpdate", `{"clusterId":"c","affiliateId":"a","affiliateData":"AAEC","ttl":"60s"}`, http.StatusOK, `{}`},
		{"List", `{"clusterId":"c"}`, http.StatusOK, `{"affiliates":[{"id":"a","data":"AAEC"}]}`},
		{"AffiliateDelete", `{"clusterId":"c","affiliateId":"a"}`, http.StatusOK, `{}`},
		{"List", `{"clusterId":"c"}`, http.StatusOK, `{}`},
		{"List", `{}`, http.StatusBadRequest, `cluster_id is missing`},
		{"AffiliateUpdate", `{"clusterId":"c","affiliateId":"a","affiliateEndpoints":["AA=="],"ttl":"60s"}`, http.StatusOK, `{}`},
		{"AffiliateUpdate", `{"clusterId":"c","affiliateId":"a","affiliateEndpoints":[""],"ttl":"60s"}`, http.StatusBadRequest, `affiliate_endpoints[0] has 0 bytes; from 1 to 32 are allowed`},
		{"AffiliateUpdate", `{"clusterId":"c","affiliateId":"a"}`, http.StatusOK, `{}`},
		{"AffiliateUpdate", `{"clusterId":"c","affiliateId":"a","ttl":"1801s"}`, http.StatusBadRequest, `ttl is 30m1s; at most 30m0s is allowed`},
		{"AffiliateUpdate", `{"clusterId":"c","affiliateId":"\u001b[2J","ttl":"60s"}`, http.StatusBadRequest, `affiliate_id has the character U+001B`},
		{"List", `{"clusterId":`, http.StatusBadRequest, `invalid_argument`},
		{"List", `{"clusterId":5}`, http.StatusBadRequest, `invalid_argument`},
	} {
		t.Log(c.method, c.body)
		m.Call(c.method, c.body).WantBody(t, c.status, c.want)
	}
}
