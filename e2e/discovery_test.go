package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDiscoveryRestartsWithItsMemory(t *testing.T) {
	m := newMesh(t, 3)
	store := "bolt:" + filepath.Join(m.discovery.Dir, "discovery.db")
	m.serve("--store", store)
	first, second, third := m.machines[0], m.machines[1], m.machines[2]
	first.startAgent()
	second.startAgent()
	first.awaitUp(1)
	second.awaitUp(1)
	if err := m.server.Stop(unix.SIGKILL); err == nil {
		t.Fatal("the server ended by itself")
	}
	// The machines are stopped, so that only the server can remember them.
	for _, machine := range []*machine{first, second} {
		if err := machine.agent.Stop(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	m.serve("--store", store)
	third.startAgent()
	third.awaitMember("node-1")
	third.awaitMember("node-2")

	t.Run("agents come back by themselves", func(t *testing.T) {
		first.startAgent()
		second.startAgent()
		m.awaitUp()
		if err := m.server.Stop(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		first.await(first.agent, "discovery unreachable")
		m.serve("--store", store)
		late := m.add(t, "late")
		late.write(m.config)
		late.startAgent()
		m.machines = append(m.machines, late)
		m.awaitUp()
	})
}

// awaitMember waits until the machine knows a member.
func (m *machine) awaitMember(name string) {
	m.t.Helper()
	m.follow("members", func(specs map[string]map[string]any) bool { return specs[name] != nil })
}

func TestDiscoveryBeyondLoopbackWantsTLS(t *testing.T) {
	m := newMesh(t, 2)
	if o := m.discovery.try("discovery", "serve", "--listen", ":"+port); o.status != 1 || !strings.Contains(o.stderr, "give --tls-cert and --tls-key, or --insecure") {
		t.Errorf("status %d\n%s", o.status, o.stderr)
	}
	certificate, key := m.discovery.certificate()
	m.server = m.discovery.start("discovery", "serve", "--listen", ":"+port, "--tls-cert", certificate, "--tls-key", key)
	m.discovery.await(m.server, "serving discovery")
	for _, machine := range m.machines {
		machine.write(strings.Replace(m.config, "http://", "https://", 1))
		// As if the machine trusted the authority that signed it.
		agent := machine.Spanctl(t.Context(), "run")
		agent.Env = append(agent.Env, "SSL_CERT_FILE="+certificate)
		machine.startThis(agent)
	}
	m.awaitUp()
	if said := m.machines[0].agent.Output(); strings.Contains(said, "discovery uses plain HTTP") {
		t.Errorf("TLS is not seen as such:\n%s", said)
	}

	t.Run("a certificate that is not trusted is refused", func(t *testing.T) {
		late := m.add(t, "late")
		late.write(strings.Replace(m.config, "http://", "https://", 1))
		late.startAgent()
		late.await(late.agent, "certificate signed by unknown authority")
	})
}

// certificate makes a certificate for the machine that signs itself.
func (m *machine) certificate() (certificatePath, keyPath string) {
	m.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: m.Name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{m.Address.AsSlice()},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		m.t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.file("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))),
		m.file("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})))
}

// TestCurlOnDiscovery speaks the protocol by hand, in JSON.
func TestCurlOnDiscovery(t *testing.T) {
	requiresCurl(t)
	m := newMesh(t, 0)
	m.serve()
	call := func(method, body string) outcome {
		return m.discovery.finish(m.discovery.Command(withPatience(t), "curl", "--silent", "--show-error", "--fail-with-body",
			"--header", "Content-Type: application/json", "--data", body, m.endpoint()+"/sidero.discovery.server.Cluster/"+method))
	}
	for _, c := range []struct{ method, body, want string }{
		{"Hello", `{"clusterId":"c","clientVersion":"curl"}`, `"clientIp":`},
		{"AffiliateUpdate", `{"clusterId":"c","affiliateId":"a","affiliateData":"AAEC","ttl":"60s"}`, `{}`},
		{"List", `{"clusterId":"c"}`, `{"affiliates":[{"id":"a","data":"AAEC"}]}`},
		{"AffiliateDelete", `{"clusterId":"c","affiliateId":"a"}`, `{}`},
		{"List", `{"clusterId":"c"}`, `{}`},
	} {
		if o := call(c.method, c.body); o.status != 0 || !strings.Contains(compact(o.stdout), c.want) {
			t.Errorf("%s %s: status %d, %s%s, want %s", c.method, c.body, o.status, o.stdout, o.stderr, c.want)
		}
	}
	for _, c := range []struct{ method, body, want string }{
		{"List", `{}`, `cluster_id is missing`},
		{"AffiliateUpdate", `{"clusterId":"c","affiliateId":"a","affiliateEndpoints":["AA=="],"ttl":"60s"}`, `sealed endpoints have a multiple of 16`},
		{"AffiliateUpdate", `{"clusterId":"c","affiliateId":"a"}`, `ttl is missing`},
		{"List", `{"clusterId":`, `invalid_argument`},
		{"List", `{"clusterId":5}`, `invalid_argument`},
	} {
		if o := call(c.method, c.body); o.status == 0 || !strings.Contains(o.stdout, c.want) {
			t.Errorf("%s %s: status %d, %s%s, want %s", c.method, c.body, o.status, o.stdout, o.stderr, c.want)
		}
	}
}
