package kubernetes_test

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

	"github.com/spanmesh/span/e2e/internal/harness"
)

// cluster is a Kubernetes cluster as spanctl sees it: an API server on a machine.
type cluster struct {
	*harness.Machine
	t         *testing.T
	server    *harness.Process
	args      []string
	apiserver string
	// admin is the path of the administrator's kubeconfig.
	admin string
	ca    []byte
}

const (
	adminToken   = "admin-of-the-test"
	kubeletToken = "kubelet-of-node-1"
)

// startCluster starts an etcd and an API server on a machine.
func startCluster(t *testing.T, m *harness.Machine) *cluster {
	t.Helper()
	c := &cluster{Machine: m, t: t, apiserver: harness.Tool(t, "kube-apiserver", "kubernetes")}
	certificate, key := m.Files.Certificate()
	var err error
	if c.ca, err = os.ReadFile(certificate); err != nil {
		t.Fatal(err)
	}
	accounts := m.Files.Write("accounts.pem", privateKey(t))
	tokens := m.Files.Write("tokens.csv", adminToken+",admin,1,system:masters\n"+kubeletToken+",system:node:node-1,2,system:nodes\n")
	c.args = []string{
		"--etcd-servers", harness.StartEtcd(m), "--bind-address", m.Address.String(), "--secure-port", "6443", "--advertise-address", m.Address.String(),
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
	c.server = harness.StartProcess(c.t, c.Command(context.WithoutCancel(c.t.Context()), c.apiserver, c.args...))
	c.server.AwaitOutput("Serving securely")
	c.awaitReady()
}

// pollPause is the time between two calls of kubectl for the same answer.
const pollPause = 200 * time.Millisecond

// awaitReady waits until the API server is ready. It answers before, and no event
// reports it.
func (c *cluster) awaitReady() {
	c.t.Helper()
	ctx := harness.Context(c.t)
	for {
		o := c.tryKubectl("", "get", "--raw", "/readyz")
		if o.Status == 0 {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("the API server is not ready: %s", o.Stderr)
		case <-time.After(pollPause):
		}
	}
}

// killAPI kills the API server.
func (c *cluster) killAPI() {
	c.t.Helper()
	c.server.Kill()
}

// kubeconfig writes a kubeconfig with a token and returns its path.
func (c *cluster) kubeconfig(name, token string) string {
	c.t.Helper()
	return c.kubeconfigOf(name, "{token: "+token+"}")
}

// kubeconfigOf writes a kubeconfig of a user, given in YAML, and returns its path.
func (c *cluster) kubeconfigOf(name, user string) string {
	c.t.Helper()
	return c.Files.Write(name+".kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: lab
clusters: [{name: lab, cluster: {server: "https://%s", certificate-authority-data: %s}}]
users: [{name: %s, user: %s}]
contexts: [{name: lab, context: {cluster: lab, user: %s}}]
`, net.JoinHostPort(c.Address.String(), "6443"), base64.StdEncoding.EncodeToString(c.ca), name, user, name))
}

// tryKubectl runs kubectl as the admin, with standard input.
func (c *cluster) tryKubectl(input string, args ...string) harness.Outcome {
	c.t.Helper()
	cmd := c.Command(harness.Context(c.t), harness.Tool(c.t, "kubectl", "kubernetes"), append([]string{"--kubeconfig", c.admin, "--cache-dir", filepath.Join(c.Dir, "kube")}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	return c.Exec.Finish(cmd)
}

func (c *cluster) kubectl(input string, args ...string) string {
	c.t.Helper()
	o := c.tryKubectl(input, args...)
	if o.Status != 0 {
		c.t.Fatalf("kubectl %v: %s%s", args, o.Stdout, o.Stderr)
	}
	return o.Stdout
}

// addNode registers a Node with the networks of its pods, as a kubelet and the controller
// manager do.
func (c *cluster) addNode(name string, pods ...string) {
	c.t.Helper()
	spec := "{}"
	if len(pods) > 0 {
		spec = fmt.Sprintf("{podCIDR: %q, podCIDRs: [%q]}", pods[0], strings.Join(pods, `", "`))
		spec = strings.ReplaceAll(spec, `\"`, `"`)
	}
	c.kubectl(fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {kubernetes.io/hostname: %s}}\nspec: %s\n", name, name, spec), "create", "-f", "-")
}

// account makes the service account of deploy/kubernetes/rbac.yaml and returns the path of
// its kubeconfig.
func (c *cluster) account() string {
	c.t.Helper()
	rules := filepath.Join(harness.Root(c.t), "deploy/kubernetes/rbac.yaml")
	c.kubectl("", "apply", "-f", rules)
	return c.kubeconfig("spanctl", c.token())
}

// token makes a token of that service account.
func (c *cluster) token() string {
	c.t.Helper()
	return strings.TrimSpace(c.kubectl("", "create", "token", "spanctl", "-n", "spanctl-system", "--duration", "24h"))
}

// annotations returns the annotations of a Node.
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

// awaitAnnotations waits until enough reports true for the annotations of a Node.
func (c *cluster) awaitAnnotations(node string, enough func(map[string]string) bool) {
	c.t.Helper()
	ctx := harness.Context(c.t)
	for {
		got := c.annotations(node)
		if enough(got) {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("the annotations of %s are %v", node, got)
		case <-time.After(pollPause):
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
