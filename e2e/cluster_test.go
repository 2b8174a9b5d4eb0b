package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

// cluster is a Kubernetes cluster as spanctl sees it: an API server on a machine.
type cluster struct {
	*machine
	server    *lab.Process
	args      []string
	apiserver string
	// admin is the kubeconfig of who may do all.
	admin string
	ca    []byte
}

// program is one that `make kubernetes` built.
func program(t *testing.T, name string) string {
	t.Helper()
	if inGuest() {
		t.Skip("the guest has no Kubernetes")
	}
	path, err := filepath.Abs(filepath.Join("../.tools/bin", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("build Kubernetes first, with `make kubernetes`: %v", err)
	}
	return path
}

const (
	adminToken   = "admin-of-the-test"
	kubeletToken = "kubelet-of-node-1"
)

// kubernetes makes this machine an API server, with its etcd.
func (m *machine) kubernetes() *cluster {
	m.t.Helper()
	c := &cluster{machine: m, apiserver: program(m.t, "kube-apiserver")}
	certificate, key := m.certificate()
	var err error
	if c.ca, err = os.ReadFile(certificate); err != nil {
		m.t.Fatal(err)
	}
	accounts := m.file("accounts.pem", privateKey(m.t))
	tokens := m.file("tokens.csv", adminToken+",admin,1,system:masters\n"+kubeletToken+",system:node:node-1,2,system:nodes\n")
	c.args = []string{
		"--etcd-servers", m.etcd(), "--bind-address", m.Address.String(), "--secure-port", "6443", "--advertise-address", m.Address.String(),
		"--tls-cert-file", certificate, "--tls-private-key-file", key, "--cert-dir", m.Dir,
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", accounts,
		"--service-account-signing-key-file", accounts, "--token-auth-file", tokens,
		"--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction", "--service-cluster-ip-range", "10.96.0.0/16",
	}
	c.admin = c.kubeconfig("admin", adminToken)
	c.serveAPI()
	return c
}

// serveAPI starts the API server and waits until it is ready.
func (c *cluster) serveAPI() {
	c.t.Helper()
	p, err := lab.Start(c.Command(context.WithoutCancel(c.t.Context()), c.apiserver, c.args...))
	if err != nil {
		c.t.Fatal(err)
	}
	c.server = p
	c.await(p, "Serving securely")
	c.awaitReady()
}

// awaitReady waits until the API server is more than there.
func (c *cluster) awaitReady() {
	c.t.Helper()
	// It answers before it is ready, and nothing tells when.
	deadline := time.Now().Add(patience)
	for o := c.tryKubectl("", "get", "--raw", "/readyz"); o.status != 0; o = c.tryKubectl("", "get", "--raw", "/readyz") {
		if time.Now().After(deadline) {
			c.t.Fatalf("the API server is not ready: %s", o.stderr)
		}
	}
}

// killAPI ends the API server as power loss would.
func (c *cluster) killAPI() {
	c.t.Helper()
	if err := c.server.Stop(unix.SIGKILL); err == nil {
		c.t.Fatal("the API server ended by itself")
	}
}

// kubeconfig makes one for whoever has a token.
func (c *cluster) kubeconfig(name, token string) string {
	c.t.Helper()
	return c.kubeconfigOf(name, "{token: "+token+"}")
}

// kubeconfigOf makes a kubeconfig for a user, given in YAML.
func (c *cluster) kubeconfigOf(name, user string) string {
	c.t.Helper()
	return c.file(name+".kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: lab
clusters: [{name: lab, cluster: {server: "https://%s", certificate-authority-data: %s}}]
users: [{name: %s, user: %s}]
contexts: [{name: lab, context: {cluster: lab, user: %s}}]
`, net.JoinHostPort(c.Address.String(), "6443"), base64.StdEncoding.EncodeToString(c.ca), name, user, name))
}

// tryKubectl runs kubectl as the admin, with standard input.
func (c *cluster) tryKubectl(input string, args ...string) outcome {
	c.t.Helper()
	cmd := c.Command(withPatience(c.t), program(c.t, "kubectl"), append([]string{"--kubeconfig", c.admin, "--cache-dir", filepath.Join(c.Dir, "kube")}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	return c.finish(cmd)
}

func (c *cluster) kubectl(input string, args ...string) string {
	c.t.Helper()
	o := c.tryKubectl(input, args...)
	if o.status != 0 {
		c.t.Fatalf("kubectl %v: %s%s", args, o.stdout, o.stderr)
	}
	return o.stdout
}

// addNode registers a Node with the networks of its pods, as a kubelet and the controller
// manager would.
func (c *cluster) addNode(name string, pods ...string) {
	c.t.Helper()
	spec := "{}"
	if len(pods) > 0 {
		spec = fmt.Sprintf("{podCIDR: %q, podCIDRs: [%q]}", pods[0], strings.Join(pods, `", "`))
		spec = strings.ReplaceAll(spec, `\"`, `"`)
	}
	c.kubectl(fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {kubernetes.io/hostname: %s}}\nspec: %s\n", name, name, spec), "create", "-f", "-")
}

// account makes the service account of deploy/kubernetes/rbac.yaml and returns a
// kubeconfig of it.
func (c *cluster) account() string {
	c.t.Helper()
	rules, err := filepath.Abs("../deploy/kubernetes/rbac.yaml")
	if err != nil {
		c.t.Fatal(err)
	}
	c.kubectl("", "apply", "-f", rules)
	return c.kubeconfig("spanctl", c.token())
}

// token makes a token of that service account.
func (c *cluster) token() string {
	c.t.Helper()
	return strings.TrimSpace(c.kubectl("", "create", "token", "spanctl", "-n", "spanctl-system", "--duration", "24h"))
}

// annotations are those of a Node.
func (c *cluster) annotations(node string) map[string]string {
	c.t.Helper()
	var n struct {
		Metadata struct{ Annotations map[string]string }
	}
	if err := json.Unmarshal([]byte(c.kubectl("", "get", "node", node, "-o", "json")), &n); err != nil {
		c.t.Fatal(err)
	}
	return n.Metadata.Annotations
}

// awaitAnnotations waits until those of a Node are enough.
func (c *cluster) awaitAnnotations(node string, enough func(map[string]string) bool) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := c.annotations(node)
		if enough(got) {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the annotations of %s are %v", node, got)
		}
	}
}

func privateKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}))
}
