package kubernetes_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/docsession"
	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestKubernetesDocument has an API server. It leaves out commands that install k3s or
// Kubernetes, and those of systemd.
func TestKubernetesDocument(t *testing.T) {
	t.Parallel()
	text := docsession.Read(t, "docs/kubernetes.md")
	m := harness.NewMesh(t, 0)
	m.Serve()
	c := startCluster(t, m.Discovery)
	d := docsession.New(t, m.Add("worker-1"))
	c.addNode("worker-1", "fd42::/64")
	d.Put("ca.crt", string(c.ca))
	deploy := filepath.Join(harness.Root(t), "deploy")
	bin := filepath.Join(d.Dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{deploy: filepath.Join(d.Dir, "deploy"), harness.Tool(t, "kubectl", "kubernetes"): filepath.Join(bin, "kubectl"), harness.Tool(t, "helm", "kubernetes"): filepath.Join(bin, "helm")} {
		if err := os.Symlink(from, to); err != nil {
			t.Fatal(err)
		}
	}
	kubeconfig := filepath.Join(d.Dir, "kubeconfig")
	here := strings.NewReplacer("203.0.113.1", m.Discovery.Address.String(), "/etc/spanctl/kubeconfig", kubeconfig, "cluster.id=ID", "cluster.id=EUsCYz+oHNuBppS51P9aKSIOyYvIPmbZK944PWgiyMQ=",
		"cluster.secret=SECRET", "cluster.secret=AbdsWjY9i797kGglghKvtGdxCsdllX9CemLq+WGVeaw=")
	foreign := regexp.MustCompile(`systemctl|k3s|kubeadm|^ip |^ *--`)
	settings := 0
	for _, b := range docsession.Blocks(text) {
		switch b.Language {
		case "cue":
			settings++
			d.Put("part.cue", here.Replace(b.Text))
			d.Type("spanctl gen config --with-kubespan --force -o base.cue")
			d.Type("spanctl validate -f base.cue -f part.cue")
		case "sh":
			for line := range strings.Lines(b.Text) {
				if strings.HasPrefix(line, "kubectl apply") || strings.HasPrefix(line, "kubectl -n") || strings.HasPrefix(line, "kubectl label") || strings.HasPrefix(line, "helm") {
					line = strings.Replace("KUBECONFIG="+c.admin+" "+line, "--create-namespace", "--set agent.rbac.create=false", 1)
				}
				if strings.HasPrefix(line, "MESH=") {
					d.API.AwaitIdentity()
					if out := d.Type(strings.TrimSpace(line) + "; echo $MESH"); strings.TrimSpace(out) != d.API.MeshAddress().String() {
						t.Errorf("the mesh's address is %q", out)
					}
				} else if !foreign.MatchString(line) {
					d.Type(here.Replace(line))
				}
				if strings.HasPrefix(line, "spanctl apply") {
					d.Type("spanctl run")
				}
			}
		}
	}
	// The document's account may read and annotate Nodes.
	config, err := os.ReadFile(filepath.Join(d.Dir, "machine.cue"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Dir, "registry.cue"), []byte(harness.Edit(string(config), "advertiseKubernetesNetworks: true")+
		fmt.Sprintf("cluster: discovery: registries: kubernetes: {disabled: false, kubeconfig: %q}\n", kubeconfig)), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Type("spanctl apply -f registry.cue --immediate")
	c.awaitAnnotations("worker-1", func(got map[string]string) bool { return got[ofPrefixes] == "fd42::/64" })
	d.TypeInline(text)
	if d.Commands < 20 {
		t.Errorf("%d commands were found, want at least 20", d.Commands)
	}
	if settings < 4 {
		t.Errorf("%d settings were found, want at least 4", settings)
	}
}
