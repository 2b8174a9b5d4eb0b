package kubernetes_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/docsession"
	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestManifests applies deploy/kubernetes to a real API server, and runs an agent as its pod
// runs it.
func TestManifests(t *testing.T) {
	t.Parallel()
	helm := harness.Tool(t, "helm", "kubernetes")
	deploy := filepath.Join(harness.Root(t), "deploy/kubernetes")
	m := harness.NewMesh(t, 2)
	c := startCluster(t, m.Discovery)
	_, rest, _ := strings.Cut(m.Config, `id:`)
	id := strings.Split(rest, `"`)[1]
	_, rest, _ = strings.Cut(m.Config, `secret:`)
	secret := strings.Split(rest, `"`)[1]

	t.Run("as they stand", func(t *testing.T) {
		c.kubectl("", "apply", "-f", filepath.Join(deploy, "rbac.yaml"))
		for _, name := range []string{"agent.yaml", "discovery.yaml"} {
			c.tryKubectl("", "apply", "--dry-run=server", "-f", filepath.Join(deploy, name)).WantStatus(t, 0).WantNoStderr(t, "Warning")
		}
	})
	render := func(values ...string) string {
		t.Helper()
		args := []string{"template", "spanctl", filepath.Join(deploy, "chart"), "--namespace", "spanctl-system"}
		for _, v := range values {
			args = append(args, "--set", v)
		}
		o := c.Exec.Finish(c.Command(harness.Context(t), helm, args...))
		if o.Status != 0 {
			t.Fatalf("helm %v: %s", args, o.Stderr)
		}
		return o.Stdout
	}
	cluster := []string{"cluster.id=" + id, "cluster.secret=" + secret}
	t.Run("helm template | kubectl apply --dry-run=server", func(t *testing.T) {
		for _, values := range [][]string{
			nil,
			{"discovery.enabled=true"},
			{"discovery.enabled=true", "discovery.tlsSecret=tls", "discovery.persistence.enabled=true", "discovery.service.type=LoadBalancer", "discovery.args={--max-clusters=10}"},
			{"agent.service.endpoint=https://discovery.example.com/", "agent.kubespan.mtu=1400", "cluster.existingSecret=mine"},
			{"agent.enabled=false", "discovery.enabled=true"},
		} {
			t.Log(values)
			c.tryKubectl(render(append(values, cluster...)...), "apply", "--dry-run=server", "-f", "-").WantStatus(t, 0).WantNoStderr(t, "Warning")
		}
	})
	t.Run("with a ServiceMonitor", func(t *testing.T) {
		monitor := render(append([]string{"agent.enabled=false", "discovery.enabled=true", "discovery.metrics.serviceMonitor.enabled=true", "discovery.metrics.serviceMonitor.labels.release=prometheus"}, cluster...)...)
		harness.WantText(t, "the chart", monitor, "kind: ServiceMonitor", "release: prometheus", "path: /metrics", "scheme: http\n")
	})
	t.Run("values that there are not", func(t *testing.T) {
		for value, reason := range map[string]string{
			"agent.kubspan.mtu=1400":      "kubspan",
			"discovery.service.port=0":    "minimum",
			"image.pullPolicy=Sometimes":  "pullPolicy",
			"agent.service.endpoint=here": "pattern",
		} {
			args := []string{"template", "spanctl", filepath.Join(deploy, "chart"), "--set", value, "--set", cluster[0], "--set", cluster[1]}
			if o := c.Exec.Finish(c.Command(harness.Context(t), helm, args...)); o.Status == 0 || !strings.Contains(o.Stderr, reason) {
				t.Errorf("%s: status %d, %s", value, o.Status, o.Stderr)
			}
		}
	})
	t.Run("where Pod Security is enforced", func(t *testing.T) {
		// No controller makes pods of the DaemonSet here: the test does, as it would.
		c.kubectl(render(cluster...), "apply", "-f", "-")
		c.kubectl("", "label", "namespace", "spanctl-system", "--overwrite", "pod-security.kubernetes.io/enforce=baseline")
		var pod struct {
			APIVersion string         `json:"apiVersion"`
			Kind       string         `json:"kind"`
			Metadata   map[string]any `json:"metadata"`
			Spec       map[string]any `json:"spec"`
		}
		template := c.kubectl("", "get", "daemonset", "spanctl", "-n", "spanctl-system", "-o", "jsonpath={.spec.template}")
		if err := json.Unmarshal([]byte(template), &pod); err != nil {
			t.Fatal(err)
		}
		pod.APIVersion, pod.Kind, pod.Metadata = "v1", "Pod", map[string]any{"name": "spanctl-1", "namespace": "spanctl-system"}
		text, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		c.tryKubectl(string(text), "apply", "--dry-run=server", "-f", "-").WantStatus(t, 1).WantStderr(t, "PodSecurity")
		label := regexp.MustCompile(`(?m)^kubectl (label namespace .*)$`).FindStringSubmatch(docsession.Read(t, "docs/kubernetes.md"))
		if label == nil {
			t.Fatal("docs/kubernetes.md does not label the namespace")
		}
		c.kubectl("", strings.Fields(label[1])...)
		c.tryKubectl(string(text), "apply", "--dry-run=server", "-f", "-").WantStatus(t, 0)
	})
	t.Run("an agent as its pod has it", func(t *testing.T) {
		c.kubectl(render(cluster...), "apply", "-f", "-")
		config := c.kubectl("", "get", "configmap", "spanctl", "-n", "spanctl-system", "-o", `jsonpath={.data.machine\.yaml}`)
		token := c.kubectl("", "create", "token", "spanctl", "-n", "spanctl-system")
		for i, machine := range m.Machines {
			name := fmt.Sprintf("worker-%d", i+1)
			c.addNode(name)
			path := machine.Files.Write("machine.yaml", strings.ReplaceAll(config, "/etc/spanctl/secret/secret", machine.Files.Write("secret", secret)))
			dir := "/run/secrets/kubernetes.io/serviceaccount"
			if o := machine.Exec.Finish(machine.Command(harness.Context(t), "mkdir", "-p", dir)); o.Status != 0 {
				t.Fatal(o.Stderr)
			}
			if err := machine.Write(dir+"/token", strings.TrimSpace(token)); err != nil {
				t.Fatal(err)
			}
			if err := machine.Write(dir+"/ca.crt", string(c.ca)); err != nil {
				t.Fatal(err)
			}
			cmd := machine.Spanctl(t.Context(), "run")
			cmd.Env = append(cmd.Env, "SPANCTL_CONFIG="+path, "NODE_NAME="+name,
				"KUBERNETES_SERVICE_HOST="+c.Address.String(), "KUBERNETES_SERVICE_PORT=6443")
			machine.Agent.StartCommand(cmd)
		}
		m.AwaitUp()
		c.awaitAnnotations("worker-1", func(got map[string]string) bool { return got[ofNodeID] == m.Machines[0].Files.NodeID() })
		if members := m.Machines[1].CLI.Run("get", "members"); !strings.Contains(members, "worker-1") {
			t.Errorf("the members are\n%s", members)
		}
	})
}
