package kubernetes_test

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/e2e/internal/docsession"
	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// lastResort is the document's route for machines without a default route for IPv6.
const lastResort = "ip -6 route add default dev kubespan metric 65535"

// newHybridMesh makes a control plane at a public address and a worker behind a NAT, both
// with IPv4 addresses in the mesh. Neither runs an agent yet.
func newHybridMesh(t *testing.T) *harness.Mesh {
	t.Helper()
	m := harness.NewMesh(t, 0)
	control := m.Join(harness.NewMachine(t, m.Discovery.Node, m.Binary))
	// Machines with a public address have a default route.
	control.Exec.Nodecmd("default-route", "172.20.0.254")
	m.AddBehindNAT(lab.Cone, "worker")
	for i, machine := range m.Machines {
		machine.Files.WriteConfig(harness.Edit(m.Config, fmt.Sprintf(`addresses: ["10.99.0.%d/24"]`, i+1)))
	}
	return m
}

// overlay mounts a copy of directories in a machine of the lab. The copy is gone with the
// machine.
func overlay(m *harness.Machine, directories ...string) {
	const script = `set -e
mount --make-rprivate /
root=$1; shift
mkdir "$root"
mount -t tmpfs none "$root"
for dir; do
	mkdir -p "$root/up$dir" "$root/work$dir"
	mount -t overlay none -o "lowerdir=$dir,upperdir=$root/up$dir,workdir=$root/work$dir" "$dir"
done`
	// The mounts are private, so that the host does not see them.
	m.Exec.Run("sh", append([]string{"-c", script, "sh", filepath.Join(m.Dir, "upper")}, directories...)...)
}

// runStatic runs the command of a static pod's manifest, without a container.
func (c *cluster) runStatic(name, ready string) {
	c.t.Helper()
	var pod struct {
		Spec struct {
			Containers []struct {
				Command []string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(c.Exec.Run("cat", "/etc/kubernetes/manifests/"+name+".yaml")), &pod); err != nil {
		c.t.Fatal(err)
	}
	command := pod.Spec.Containers[0].Command
	p := harness.StartProcess(c.t, c.Command(context.WithoutCancel(c.t.Context()), harness.Tool(c.t, command[0], "kubernetes"), command[1:]...))
	p.AwaitOutput(ready)
}

// TestKubeadm makes a cluster with the commands of the document, on a control plane at a
// public address and a machine behind a NAT. There is no container runtime, so the test
// runs the programs of the control plane as the manifests say. It leaves out the kubelets.
func TestKubeadm(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "kubeadm makes a cluster whose addresses are the mesh's")
	kubeadm := harness.Tool(t, "kubeadm", "kubernetes")
	harness.RequireUsers(t, "the files of this machine that kubeadm writes beside are another user's")
	text := docsession.Read(t, "docs/kubernetes.md")
	lines := regexp.MustCompile(`(?s)\nkubeadm init (.*?[^\\])\n`).FindAllStringSubmatch(text, -1)
	if len(lines) != 2 {
		t.Fatalf("docs/kubernetes.md has %d kubeadm init commands, want 2", len(lines))
	}
	harness.WantText(t, "docs/kubernetes.md", text, "\n"+lastResort+"\n", "`kubeadm join 203.0.113.1:6443 ...`")
	for i, family := range []string{"IPv6", "IPv4"} {
		t.Run(family, func(t *testing.T) {
			m := newHybridMesh(t)
			control := m.Machines[0]
			for _, machine := range m.Machines {
				overlay(machine, "/etc", "/var/lib")
				// kubeadm resolves the machine's name.
				machine.Exec.Run("sh", "-c", "echo 127.0.1.1 "+machine.Name+" >> /etc/hosts")
			}
			m.Start()
			m.AwaitUp()
			inside := "10.99.0.1"
			if family == "IPv6" {
				inside = control.API.MeshAddress().String()
			}
			arguments := strings.NewReplacer("203.0.113.1", control.Address.String(), `"$MESH"`, inside, "\\\n", " ").Replace(lines[i][1])
			makeCluster(t, m, kubeadm, inside, strings.Fields(arguments))
		})
	}
}

// makeCluster makes a cluster of a control plane, at an address of the mesh, and a worker.
func makeCluster(t *testing.T, m *harness.Mesh, kubeadm, inside string, arguments []string) {
	control, worker := m.Machines[0], m.Machines[1]
	version := strings.TrimSpace(control.Exec.Run(kubeadm, "version", "-o", "short"))
	initialize := func(skip string) string {
		return control.Exec.Run(kubeadm, append([]string{"init", "--ignore-preflight-errors", "all", "--kubernetes-version", version, "--skip-phases", skip}, arguments...)...)
	}
	initialize("preflight,kubelet-start,wait-control-plane,upload-config,mark-control-plane,bootstrap-token,kubelet-finalize,addon,show-join-command")
	c := &cluster{Machine: control, t: t, admin: "/etc/kubernetes/super-admin.conf", ca: []byte(control.Exec.Run("cat", "/etc/kubernetes/pki/ca.crt"))}
	c.runStatic("etcd", "ready to serve client requests")
	c.runStatic("kube-apiserver", "Serving securely on [::]:6443")
	c.awaitReady()
	c.runStatic("kube-controller-manager", "Caches are synced")
	// The kubelets register their Nodes.
	c.addNode(control.Name)
	c.addNode(worker.Name)
	out := initialize("preflight,certs,kubeconfig,etcd,control-plane,kubelet-start,wait-control-plane,kubelet-finalize")
	if got := c.kubectl("", "get", "endpointslices", "kubernetes", "-o", "jsonpath={.endpoints[*].addresses[*]}"); got != inside {
		t.Errorf("the API server is at %q, want %s", got, inside)
	}

	joins := regexp.MustCompile(`(?s)kubeadm join (\S+ --token \S+) \\\s+(--discovery-token-ca-cert-hash \S+)`).FindStringSubmatch(out)
	if joins == nil {
		t.Fatalf("kubeadm init prints no kubeadm join:\n%s", out)
	}
	if want := control.Address.String() + ":6443 "; !strings.HasPrefix(joins[1], want) {
		t.Fatalf("machines join at %q, want %q", joins[1], want)
	}
	worker.Exec.Run(kubeadm, append([]string{"join", "--ignore-preflight-errors", "all", "--skip-phases", "kubelet-start,kubelet-wait-bootstrap"},
		strings.Fields(joins[1]+" "+joins[2])...)...)

	// A kubelet's credentials suffice for the machine's own Node.
	kubeconfigs := []string{"/etc/kubernetes/kubelet.conf", c.account()}
	var pods []*harness.Machine
	var networks []string
	for i, machine := range m.Machines {
		c.kubectl("", "wait", "--for", "jsonpath={.spec.podCIDR}", "node", machine.Name)
		networks = append(networks, c.kubectl("", "get", "node", machine.Name, "-o", "jsonpath={.spec.podCIDR}"))
		machine.Files.WriteConfig(harness.Edit(machine.Files.Config(), "advertiseKubernetesNetworks: true") + fmt.Sprintf("cluster: discovery: registries: kubernetes: kubeconfig: %q\n", kubeconfigs[i]))
		pods = append(pods, machine.AddPod("pod-of-"+machine.Name, networks[i]))
	}
	for i, from := range pods {
		m.Machines[i].API.AwaitNetwork(m.Machines[1-i].Name, networks[1-i])
		from.Packets.Transfer(pods[1-i], pods[1-i].Address, 1<<20)
		// There is a default route for IPv4 only.
		if pods[i].Address.Is6() {
			m.Machines[i].Exec.Run("sh", "-c", lastResort)
		}
		m.Machines[i].Packets.Transfer(pods[1-i], pods[1-i].Address, 1<<20)
	}
	m.AwaitNoDiff()
}
