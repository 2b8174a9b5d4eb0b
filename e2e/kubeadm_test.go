package e2e_test

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/e2e/lab"
)

// lastResort is the document's route for machines without a default route of IPv6.
const lastResort = "ip -6 route add default dev kubespan metric 65535"

// hybrid is a control plane with a public address and a worker behind a NAT, neither
// started, with addresses of IPv4 in the mesh.
func hybrid(t *testing.T) *mesh {
	t.Helper()
	m := newMesh(t, 0)
	control := m.join(&machine{Node: m.discovery.Node, t: t, binary: m.Binary})
	// As machines with a public address have one.
	control.role("default-route", "172.20.0.254")
	m.behind(t, lab.Cone, "worker")
	for i, machine := range m.machines {
		machine.write(edit(m.config, fmt.Sprintf(`addresses: ["10.99.0.%d/24"]`, i+1)))
	}
	return m
}

// upper mounts directories of this machine of the lab anew: what is written there is
// seen by nobody else, and is gone with it.
func (m *machine) upper(directories ...string) {
	m.t.Helper()
	const script = `set -e
mount --make-rprivate /
root=$1; shift
mkdir "$root"
mount -t tmpfs none "$root"
for dir; do
	mkdir -p "$root/up$dir" "$root/work$dir"
	mount -t overlay none -o "lowerdir=$dir,upperdir=$root/up$dir,workdir=$root/work$dir" "$dir"
done`
	// Nobody else's files are hidden where mounts are shared.
	m.succeeds("sh", append([]string{"-c", script, "sh", filepath.Join(m.Dir, "upper")}, directories...)...)
}

// succeeds runs a program, which must, and returns what it said.
func (m *machine) succeeds(program string, args ...string) string {
	m.t.Helper()
	o := m.finish(m.Command(withPatience(m.t), program, args...))
	if o.status != 0 {
		m.t.Fatalf("%s %v: status %d\n%s%s", program, args, o.status, o.stdout, o.stderr)
	}
	return o.stdout
}

// runStatic runs what a kubelet runs for the manifest of a static pod, but without a
// container around it.
func (c *cluster) runStatic(name, ready string) {
	c.t.Helper()
	var pod struct {
		Spec struct {
			Containers []struct {
				Command []string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(c.succeeds("cat", "/etc/kubernetes/manifests/"+name+".yaml")), &pod); err != nil {
		c.t.Fatal(err)
	}
	command := pod.Spec.Containers[0].Command
	p, err := lab.Start(c.Command(context.WithoutCancel(c.t.Context()), program(c.t, command[0]), command[1:]...))
	if err != nil {
		c.t.Fatal(err)
	}
	c.await(p, ready)
}

// TestKubeadm makes a cluster by the commands of the document, on a control plane with a
// public address and a machine behind a NAT. There is no container runtime here: the
// control plane's programs are run as the manifests say, and the kubelets' steps are left
// out.
func TestKubeadm(t *testing.T) {
	scenario(t, "kubeadm makes a cluster whose addresses are the mesh's")
	kubeadm := program(t, "kubeadm")
	wantsUsers(t, "the files of this machine that kubeadm writes beside are another user's")
	text, _ := document(t, "docs/kubernetes.md")
	lines := regexp.MustCompile(`(?s)\nkubeadm init (.*?[^\\])\n`).FindAllStringSubmatch(text, -1)
	if len(lines) != 2 || !strings.Contains(text, "\n"+lastResort+"\n") || !strings.Contains(text, "`kubeadm join 203.0.113.1:6443 ...`") {
		t.Fatal("the document has other commands now")
	}
	for i, family := range []string{"IPv6", "IPv4"} {
		t.Run(family, func(t *testing.T) {
			m := hybrid(t)
			control := m.machines[0]
			for _, machine := range m.machines {
				machine.upper("/etc", "/var/lib")
				// kubeadm asks for its own name.
				machine.succeeds("sh", "-c", "echo 127.0.1.1 "+machine.Name+" >> /etc/hosts")
			}
			m.start()
			m.awaitUp()
			inside := "10.99.0.1"
			if family == "IPv6" {
				inside = control.meshAddress().String()
			}
			arguments := strings.NewReplacer("203.0.113.1", control.Address.String(), `"$MESH"`, inside, "\\\n", " ").Replace(lines[i][1])
			m.byKubeadm(kubeadm, inside, strings.Fields(arguments))
		})
	}
}

// byKubeadm makes a cluster of a control plane, which is at an address of the mesh, and a
// worker.
func (m *mesh) byKubeadm(kubeadm, inside string, arguments []string) {
	control, worker := m.machines[0], m.machines[1]
	t := control.t
	version := strings.TrimSpace(control.succeeds(kubeadm, "version", "-o", "short"))
	initialize := func(skip string) string {
		return control.succeeds(kubeadm, append([]string{"init", "--ignore-preflight-errors", "all", "--kubernetes-version", version, "--skip-phases", skip}, arguments...)...)
	}
	initialize("preflight,kubelet-start,wait-control-plane,upload-config,mark-control-plane,bootstrap-token,kubelet-finalize,addon,show-join-command")
	c := &cluster{machine: control, admin: "/etc/kubernetes/super-admin.conf", ca: []byte(control.succeeds("cat", "/etc/kubernetes/pki/ca.crt"))}
	c.runStatic("etcd", "ready to serve client requests")
	c.runStatic("kube-apiserver", "Serving securely on [::]:6443")
	c.awaitReady()
	c.runStatic("kube-controller-manager", "Caches are synced")
	// As the kubelets do.
	c.addNode(control.Name)
	c.addNode(worker.Name)
	out := initialize("preflight,certs,kubeconfig,etcd,control-plane,kubelet-start,wait-control-plane,kubelet-finalize")
	if got := c.kubectl("", "get", "endpointslices", "kubernetes", "-o", "jsonpath={.endpoints[*].addresses[*]}"); got != inside {
		t.Errorf("the API server is at %q, want %s", got, inside)
	}

	joins := regexp.MustCompile(`(?s)kubeadm join (\S+ --token \S+) \\\s+(--discovery-token-ca-cert-hash \S+)`).FindStringSubmatch(out)
	if joins == nil || !strings.HasPrefix(joins[1], control.Address.String()+":6443 ") {
		t.Fatalf("how to join is not said:\n%s", out)
	}
	worker.succeeds(kubeadm, append([]string{"join", "--ignore-preflight-errors", "all", "--skip-phases", "kubelet-start,kubelet-wait-bootstrap"},
		strings.Fields(joins[1]+" "+joins[2])...)...)

	// A kubelet's credentials are enough for a machine's own Node.
	kubeconfigs := []string{"/etc/kubernetes/kubelet.conf", c.account()}
	var pods []*machine
	var networks []string
	for i, machine := range m.machines {
		c.kubectl("", "wait", "--for", "jsonpath={.spec.podCIDR}", "node", machine.Name)
		networks = append(networks, c.kubectl("", "get", "node", machine.Name, "-o", "jsonpath={.spec.podCIDR}"))
		machine.write(edit(read(t, machine.Config()), "advertiseKubernetesNetworks: true") + fmt.Sprintf("cluster: discovery: registries: kubernetes: kubeconfig: %q\n", kubeconfigs[i]))
		pods = append(pods, machine.pod(t, "pod-of-"+machine.Name, networks[i]))
	}
	for i, from := range pods {
		m.machines[i].awaitNetwork(m.machines[1-i].Name, networks[1-i])
		from.transfer(pods[1-i], pods[1-i].Address, 1<<20)
		// There is a default route of IPv4 alone here.
		if pods[i].Address.Is6() {
			m.machines[i].succeeds("sh", "-c", lastResort)
		}
		m.machines[i].transfer(pods[1-i], pods[1-i].Address, 1<<20)
	}
	m.diffsAreClean()
}
