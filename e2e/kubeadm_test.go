package e2e_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/e2e/lab"
)

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
	text, _ := document(t, "docs/kubernetes.md")
	command := regexp.MustCompile(`(?s)\nkubeadm init (.*?[^\\])\n`).FindStringSubmatch(text)
	if command == nil || !strings.Contains(text, "`kubeadm join 203.0.113.1:6443 ...`") {
		t.Fatal("the document has no such commands any more")
	}
	m := newMesh(t, 0)
	control := m.join(&machine{Node: m.discovery.Node, t: t, binary: m.Binary})
	control.role("default-route", "172.20.0.254")
	worker := m.behind(t, lab.Cone, "worker")
	for _, machine := range m.machines {
		machine.write(m.config)
		machine.upper("/etc", "/var/lib")
		// kubeadm asks for its own name.
		machine.succeeds("sh", "-c", "echo 127.0.1.1 "+machine.Name+" >> /etc/hosts")
	}
	m.start()
	m.awaitUp()
	public, mesh := control.Address.String(), control.meshAddress().String()
	arguments := strings.NewReplacer("203.0.113.1", public, `"$MESH"`, mesh, "\\\n", " ").Replace(command[1])
	version := strings.TrimSpace(control.succeeds(kubeadm, "version", "-o", "short"))
	initialize := func(skip string) string {
		return control.succeeds(kubeadm, append([]string{"init", "--ignore-preflight-errors", "all", "--kubernetes-version", version, "--skip-phases", skip},
			strings.Fields(arguments)...)...)
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

	t.Run("the API server is at the mesh's address", func(t *testing.T) {
		if got := c.kubectl("", "get", "endpointslices", "kubernetes", "-o", "jsonpath={.endpoints[*].addresses[*]}"); got != mesh {
			t.Errorf("it is at %q, want %s", got, mesh)
		}
	})
	t.Run("a machine behind a NAT joins by the public address", func(t *testing.T) {
		joins := regexp.MustCompile(`(?s)kubeadm join (\S+ --token \S+) \\\s+(--discovery-token-ca-cert-hash \S+)`).FindStringSubmatch(out)
		if joins == nil || !strings.HasPrefix(joins[1], public+":6443 ") {
			t.Fatalf("how to join is not said:\n%s", out)
		}
		arguments := append([]string{"join", "--ignore-preflight-errors", "all", "--skip-phases", "kubelet-start,kubelet-wait-bootstrap"},
			strings.Fields(joins[1]+" "+joins[2])...)
		worker.succeeds(kubeadm, arguments...)
	})
	t.Run("the pods reach each other by the networks that the controller manager gives", func(t *testing.T) {
		// A kubelet's credentials are enough for a machine's own Node.
		kubeconfigs := []string{"/etc/kubernetes/kubelet.conf", c.account()}
		var pods []*machine
		for i, machine := range m.machines {
			c.kubectl("", "wait", "--for", "jsonpath={.spec.podCIDR}", "node", machine.Name)
			network := c.kubectl("", "get", "node", machine.Name, "-o", "jsonpath={.spec.podCIDR}")
			machine.write(edit(m.config, "advertiseKubernetesNetworks: true") + "cluster: discovery: registries: kubernetes: kubeconfig: \"" + kubeconfigs[i] + "\"\n")
			pods = append(pods, machine.pod(t, "pod-of-"+machine.Name, network))
		}
		for i, from := range pods {
			to := pods[1-i]
			m.machines[i].awaitNetwork(m.machines[1-i].Name, netip.PrefixFrom(to.Address, 64).Masked().String())
			from.transfer(to, to.Address, 1<<20)
		}
	})
	m.diffsAreClean()
}
