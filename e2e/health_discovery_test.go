package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestDiscoveryThatCannotBeUsed has a machine call discovery at ports where something is wrong.
// Each state ends when the endpoint is the right one again.
func TestDiscoveryThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 2)
	m.Serve()
	node := m.Machines[0]
	m.Machines[1].Agent.Start()
	at := func(scheme, port string) string {
		return scheme + "://" + net.JoinHostPort(m.Discovery.Address.String(), port)
	}
	// setEndpoint makes the agent call discovery elsewhere.
	setEndpoint := func(url string) { node.Files.WriteConfig(strings.Replace(m.Config, m.Endpoint(), url, 1)) }
	// await waits for a condition of the endpoint, and returns it as text.
	await := func(code, url, severity string) string {
		t.Helper()
		c := node.API.AwaitCondition(code)
		if c["severity"] != severity || url != "" && c["subject"] != url {
			t.Errorf("%s is %v", code, c)
		}
		return fmt.Sprint(c["cause"], ". ", c["remedy"])
	}
	mend := func(code string) {
		t.Helper()
		setEndpoint(m.Endpoint())
		node.API.AwaitNoCondition(code)
	}

	harness.Scenario(t, "discovery is called at a wrong port, with a certificate that is not valid, and with a clock that is off: named, until it is mended")
	setEndpoint(at("http", "3001"))
	node.Agent.Start()
	text := await("DiscoveryUnreachable", at("http", "3001"), "error")
	harness.WantText(t, "the condition", text, "connection refused for ", "never heard; next try at ", "check address and port")
	mend("DiscoveryUnreachable")
	await("DiscoveryPlain", m.Endpoint(), "info")
	m.AwaitUp()

	now := time.Now()
	for _, c := range []struct {
		name, port  string
		from, until time.Time
		want        []string
	}{
		{"early", "3002", now.Add(24 * time.Hour), now.Add(48 * time.Hour), []string{"valid from " + now.Add(24*time.Hour).UTC().Format(time.DateOnly), "this clock says", "timedatectl set-ntp true"}},
		{"strange", "3003", now.Add(-time.Hour), now.Add(time.Hour), []string{"signed by", "is not trusted here", "cluster.discovery.registries.service.ca"}},
	} {
		certificate, key := m.Discovery.Files.CertificateWithin(c.name, c.from, c.until)
		server := m.Discovery.CLI.Start("discovery", "serve", "--listen", ":"+c.port, "--tls-cert", certificate, "--tls-key", key, "--store", "memory")
		server.AwaitOutput("serving discovery")
		setEndpoint(at("https", c.port))
		node.API.Await("conditions", func(specs harness.Specs) bool { return strings.Contains(fmt.Sprint(specs), at("https", c.port)) })
		found := node.API.AwaitCondition("DiscoveryTLS")
		harness.WantText(t, "the condition", fmt.Sprint(found["cause"], ". ", found["remedy"]), c.want...)
		mend("DiscoveryTLS")
		server.Terminate()
	}

	m.Discovery.Exec.StartNodecmd("date-front", ":3004", m.Endpoint(), "2h3m30s")
	setEndpoint(at("http", "3004"))
	harness.WantText(t, "the condition", await("ClockOff", "", "warning"), "2h 3m behind "+at("http", "3004"), "timedatectl set-ntp true")
	mend("ClockOff")
	m.AwaitUp()

	t.Run("its only place is taken", func(t *testing.T) {
		full := m.Discovery.CLI.Start("discovery", "serve", "--listen", ":3005", "--insecure", "--store", "memory", "--max-affiliates", "1")
		full.AwaitOutput("serving discovery")
		m.Discovery.Exec.Post(at("http", "3005")+"/sidero.discovery.server.Cluster/AffiliateUpdate",
			fmt.Sprintf(`{"clusterId":%q,"affiliateId":"first","affiliateData":"AAAA","ttl":"1800s"}`, m.Value("id"))).WantBody(t, http.StatusOK, "")
		setEndpoint(at("http", "3005"))
		harness.WantText(t, "the condition", await("DiscoveryUnpublished", at("http", "3005"), "warning"), "this machine was not taken for 1m", "raise the limit")
		mend("DiscoveryUnpublished")
	})
	t.Run("it ends while a peer is up", func(t *testing.T) {
		m.AwaitUp()
		m.Server.Terminate()
		text := await("DiscoveryUnreachable", m.Endpoint(), "warning")
		harness.WantText(t, "the condition", text, "last heard ", "known machines stay in the mesh")
		node.CLI.Try("status").WantStatus(t, 1).WantStdout(t, "degraded: 1 warning", "! DiscoveryUnreachable "+m.Endpoint(), "\nnode-2  up ")
		m.Serve()
		node.API.AwaitNoCondition("DiscoveryUnreachable")
	})
	m.AwaitNoDiff()
}
