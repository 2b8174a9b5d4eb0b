package kubernetes_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

const (
	ofNodeID    = "cluster.talos.dev/node-id"
	ofPublicKey = "networking.talos.dev/kubespan-public-key"
	ofEndpoints = "networking.talos.dev/kubespan-endpoints"
	ofPrefixes  = "networking.talos.dev/assigned-prefixes"
	ofAddress   = "networking.talos.dev/kubespan-ip"
)

// inKubernetes returns the mesh's config with Nodes as a registry, beside the discovery
// service if that is set.
func inKubernetes(m *harness.Mesh, kubeconfig string, service bool, settings ...string) string {
	config := harness.Edit(m.Config, strings.Join(settings, "\n"))
	registries := fmt.Sprintf("cluster: discovery: registries: kubernetes: {disabled: false, kubeconfig: %q}\n", kubeconfig)
	if !service {
		registries += "cluster: discovery: registries: service: disabled: true\n"
	}
	return config + registries
}

// TestKubernetesRegistry has three machines that find each other with annotations of their
// Nodes.
func TestKubernetesRegistry(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the Nodes of a Kubernetes cluster are the registry")
	m := harness.NewMesh(t, 3)
	c := startCluster(t, m.Discovery)
	account := c.account()
	for _, machine := range m.Machines {
		c.addNode(machine.Name)
		machine.Files.WriteConfig(inKubernetes(m, account, false))
		machine.Agent.Start()
	}
	m.AwaitUp()
	one, two, three := m.Machines[0], m.Machines[1], m.Machines[2]

	t.Run("the annotations are KubeSpan's", func(t *testing.T) {
		got := c.annotations("node-1")
		for name, want := range map[string]string{
			ofNodeID: one.Files.NodeID(), ofEndpoints: one.Address.String() + ":51820", "networking.talos.dev/self-ips": one.Address.String(),
			ofAddress: one.API.MeshAddress().String(),
		} {
			if got[name] != want {
				t.Errorf("%s is %q, want %q", name, got[name], want)
			}
		}
		owners := c.kubectl("", "get", "node", "node-1", "-o", "jsonpath={.metadata.managedFields[?(@.manager==\"spanctl\")].operation}")
		if owners != "Apply" {
			t.Errorf("the annotations are owned by %q", owners)
		}
	})
	t.Run("annotations that others change are restored", func(t *testing.T) {
		before := c.annotations("node-1")
		c.kubectl("", "annotate", "node", "node-1", "--overwrite", ofPublicKey+"=AAAA", ofEndpoints+"-", "example.com/mine=1")
		c.awaitAnnotations("node-1", func(got map[string]string) bool {
			mine := got["example.com/mine"]
			delete(got, "example.com/mine")
			return mine == "1" && maps.Equal(got, before)
		})
		m.AwaitUp()
	})
	t.Run("annotations of other Nodes are checked", func(t *testing.T) {
		c.addNode("vandal")
		c.kubectl("", "annotate", "node", "vandal", ofNodeID+"=vandal", ofPublicKey+"="+strings.Repeat("A", 43)+"=", ofEndpoints+"=nowhere")
		two.API.Await("affiliates", func(specs harness.Specs) bool {
			refused, _ := specs["vandal"]["refused"].(string)
			return strings.Contains(refused, "Node vandal") && strings.Contains(refused, ofEndpoints)
		})
		c.kubectl("", "delete", "node", "vandal")
	})
	t.Run("a Node is deleted and comes back", func(t *testing.T) {
		c.kubectl("", "delete", "node", "node-3")
		one.API.AwaitPeersUp(1)
		two.API.AwaitPeersUp(1)
		c.addNode("node-3")
		m.AwaitUp()
	})
	t.Run("the API server is down", func(t *testing.T) {
		c.killAPI()
		one.Packets.Ping(two.API.MeshAddress())
		one.Agent.Terminate()
		one.Agent.Start()
		one.API.AwaitPeersUp(2)
		one.Packets.Ping(three.API.MeshAddress())
		two.Agent.Terminate()
		c.serveAPI()
		two.Files.WriteConfig(harness.Edit(inKubernetes(m, account, false), `advertisedNetworks: ["10.99.0.0/24"]`))
		two.Agent.Start()
		one.API.AwaitNetwork("node-2", "10.99.0.0/24")
		m.AwaitUp()
	})
	t.Run("down removes the annotations", func(t *testing.T) {
		three.CLI.Run("down")
		c.awaitAnnotations("node-3", func(got map[string]string) bool { return len(got) == 0 })
		one.API.AwaitPeersUp(1)
		three.CLI.Run("reload")
		m.AwaitUp()
	})
	m.AwaitNoDiff()
}

// TestTalosRegistry has Talos' own registry, which annotates a Node and reads that of spanctl.
func TestTalosRegistry(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "Talos' registry and spanctl read each other's annotations")
	registry := harness.Tool(t, "talos-registry", "kubernetes")
	m := harness.NewMesh(t, 1)
	c := startCluster(t, m.Discovery)
	node := m.Machines[0]
	c.addNode(node.Name)
	c.addNode("talos")
	// A kubelet annotates its Node.
	c.kubectl("", "annotate", "node", "talos", "volumes.kubernetes.io/controller-managed-attach-detach=true")
	node.Files.WriteConfig(inKubernetes(m, c.account(), false, `addresses: ["10.99.0.1/24"]`, `advertisedNetworks: ["10.98.0.0/16"]`))
	node.Agent.Start()
	node.API.AwaitIdentity()

	talos := m.Add("talos")
	const id, key = "2VfX3nu67ZtZPl57IdJrU87BMjVWkSBJiL9ulP9TCnF", "06D9QQOydzKrOL7oeLiqHy9OWE8KtmJzZII2A5/FLFI="
	inside := node.API.MeshAddress().As16()
	inside[15]++
	address, endpoint := netip.AddrFrom16(inside), netip.AddrPortFrom(talos.Address, 51820)
	p := harness.StartProcess(t, talos.Command(context.WithoutCancel(t.Context()), registry, c.admin, "talos", id, key, address.String(), talos.Address.String(),
		endpoint.String(), "10.97.0.0/16"))
	identity := strings.Fields(node.CLI.Run("get", "kubespanidentities"))
	p.AwaitOutput(fmt.Sprintf("%s %s %s %s [%s 10.99.0.1] [%s:51820] [10.98.0.0/16 10.99.0.1/32]\n", node.Name, node.Files.NodeID(), identity[7], node.API.MeshAddress(), node.Address, node.Address))
	node.API.Await("affiliates", func(specs harness.Specs) bool { return specs[id] != nil })
	node.API.Await("kubespanpeerspecs", func(specs harness.Specs) bool {
		spec := fmt.Sprint(specs[key])
		return strings.Contains(spec, endpoint.String()) && strings.Contains(spec, "10.97.0.0/16") && strings.Contains(spec, address.String()+"/128") && strings.Contains(spec, talos.Address.String()+"/32")
	})
	node.CLI.Run("down")
	c.awaitAnnotations(node.Name, func(got map[string]string) bool { return got[ofNodeID] == "" })
}

// TestBothRegistries has a machine in the service only, one in Kubernetes only, and one in
// both.
func TestBothRegistries(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the Nodes of a Kubernetes cluster and a discovery service at once")
	m := harness.NewMesh(t, 3)
	m.Serve()
	c := startCluster(t, m.Discovery)
	account := c.account()
	both, nodes, service := m.Machines[0], m.Machines[1], m.Machines[2]
	c.addNode(both.Name)
	c.addNode(nodes.Name)
	both.Files.WriteConfig(inKubernetes(m, account, true))
	nodes.Files.WriteConfig(inKubernetes(m, account, false))
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	both.API.AwaitPeersUp(2)
	nodes.API.AwaitPeersUp(1)
	service.API.AwaitPeersUp(1)
	both.Packets.Ping(nodes.API.MeshAddress())
	both.Packets.Ping(service.API.MeshAddress())
	// One registry is enough for machines that are in both.
	nodes.Files.WriteConfig(inKubernetes(m, account, true))
	service.Files.WriteConfig(inKubernetes(m, account, true))
	c.addNode(service.Name)
	m.AwaitUp()
	c.killAPI()
	both.Packets.Ping(service.API.MeshAddress())
	c.serveAPI()
	m.Server.Terminate()
	both.Packets.Ping(service.API.MeshAddress())
	service.Files.WriteConfig(harness.Edit(inKubernetes(m, account, true), `advertisedNetworks: ["10.98.0.0/24"]`))
	both.API.AwaitNetwork(service.Name, "10.98.0.0/24")
	m.Serve()
	m.AwaitUp()
}

// TestKubernetesRefuses has an account without permissions, and a kubelet's credentials.
func TestKubernetesRefuses(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a Kubernetes API server refuses an account and a kubelet: that is named, until it has the right")
	m := harness.NewMesh(t, 2)
	m.Serve()
	c := startCluster(t, m.Discovery)
	account := c.account()
	for _, machine := range m.Machines {
		c.addNode(machine.Name, "10.42.1.0/24")
	}
	one, two := m.Machines[0], m.Machines[1]

	t.Run("an account without permissions", func(t *testing.T) {
		c.kubectl("", "patch", "clusterrole", "spanctl", "--type", "json", "-p", `[{"op": "replace", "path": "/rules/0/verbs", "value": ["get", "list", "watch"]}]`)
		one.Files.WriteConfig(inKubernetes(m, account, false))
		one.Agent.Start()
		one.Agent.AwaitOutput("kubernetes node not published")
		for _, want := range []string{"cannot patch resource", "deploy/kubernetes/rbac.yaml"} {
			if !strings.Contains(one.Agent.Output(), want) {
				t.Errorf("the log has no %q", want)
			}
		}
		refused := func(request string) {
			t.Helper()
			found := one.API.AwaitCondition("KubernetesRefused")
			harness.WantText(t, "the condition", fmt.Sprint(found), "403, "+request, "these credentials have no right to it", "deploy/kubernetes/rbac.yaml", "severity:warning")
			one.CLI.Try("status").WantStatus(t, 1).WantStdout(t, "! KubernetesRefused")
		}
		refused("patch node")
		c.kubectl("", "delete", "clusterrolebinding", "spanctl")
		one.Agent.Terminate()
		one.Agent.Start()
		one.Agent.AwaitOutput("kubernetes registry unreachable")
		refused("list nodes")
		// With the permissions it recovers.
		c.account()
		c.awaitAnnotations(one.Name, func(got map[string]string) bool { return got[ofNodeID] != "" })
		one.API.AwaitNoCondition("KubernetesRefused")
	})
	t.Run("a kubelet's credentials", func(t *testing.T) {
		one.Agent.Terminate()
		one.Files.WriteConfig(inKubernetes(m, c.kubeconfig("kubelet", kubeletToken), true))
		one.Agent.Start()
		one.Agent.AwaitOutput("since Kubernetes 1.32")
		two.Agent.Start() // the service is enough for both
		one.API.AwaitPeersUp(1)
	})
	t.Run("a kubelet's credentials are enough for the pods of its Node", func(t *testing.T) {
		one.Files.WriteConfig(harness.Edit(m.Config, "advertiseKubernetesNetworks: true") +
			fmt.Sprintf("cluster: discovery: registries: kubernetes: kubeconfig: %q\n", c.kubeconfig("kubelet", kubeletToken)))
		two.API.AwaitNetwork(one.Name, "10.42.1.0/24")
	})
	t.Run("no such Node", func(t *testing.T) {
		two.Files.WriteConfig(inKubernetes(m, account, true, "") + "cluster: discovery: registries: kubernetes: nodeName: \"elsewhere\"\n")
		two.Agent.AwaitOutput("elsewhere")
		c.addNode("elsewhere")
		c.awaitAnnotations("elsewhere", func(got map[string]string) bool { return got[ofNodeID] == two.Files.NodeID() })
	})
	t.Run("a kubeconfig that comes later", func(t *testing.T) {
		later := filepath.Join(two.Dir, "later.kubeconfig")
		two.Agent.AwaitAfter(func() { two.Files.WriteConfig(inKubernetes(m, later, true)) }, "read the kubeconfig")
		two.API.AwaitPeersUp(1)
		text, err := os.ReadFile(account)
		if err != nil {
			t.Fatal(err)
		}
		two.Files.Write("later.kubeconfig", string(text))
		c.awaitAnnotations(two.Name, func(got map[string]string) bool { return got[ofNodeID] == two.Files.NodeID() })
	})
}

// TestExecCredentials has a kubeconfig whose credentials come from a program. The program
// fails until it has a token.
func TestExecCredentials(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 2)
	c := startCluster(t, m.Discovery)
	account := c.account()
	one, two := m.Machines[0], m.Machines[1]
	for _, machine := range m.Machines {
		c.addNode(machine.Name)
	}
	tokenFile := filepath.Join(one.Dir, "token")
	plugin := one.Files.Write("plugin", `#!/bin/sh
token=$(cat `+tokenFile+`) || exit 1
echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "'"$token"'"}}'
`)
	if err := os.Chmod(plugin, 0o700); err != nil {
		t.Fatal(err)
	}
	one.Files.WriteConfig(inKubernetes(m, c.kubeconfigOf("exec", "{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: "+plugin+"}}"), false))
	one.Agent.Start()
	one.Agent.AwaitOutput(plugin + " failed with exit code 1")
	token := c.token()
	one.Files.Write("token", token)
	c.awaitAnnotations(one.Name, func(got map[string]string) bool { return got[ofNodeID] == one.Files.NodeID() })
	two.Files.WriteConfig(inKubernetes(m, account, false))
	two.Agent.Start()
	m.AwaitUp()
	harness.WantNoText(t, "the agent's log", one.Agent.Output(), token)
}

// TestPods has a pod behind each machine, with IPv4 and IPv6.
func TestPods(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "pods reach pods, over IPv4 and IPv6 and without fragments")
	m := harness.NewMesh(t, 2)
	c := startCluster(t, m.Discovery)
	account := c.account()
	networks := [][]string{{"10.42.1.0/24", "fd42:0:0:1::/64"}, {"10.42.2.0/24", "fd42:0:0:2::/64"}}
	var pods []*harness.Machine
	for i, machine := range m.Machines {
		c.addNode(machine.Name, networks[i]...)
		machine.Files.WriteConfig(inKubernetes(m, account, false, "advertiseKubernetesNetworks: true"))
		machine.Agent.Start()
		machine.API.AwaitIdentity()
		pods = append(pods, machine.AddPod(fmt.Sprintf("pod-%d", i+1), networks[i]...))
	}
	m.AwaitUp()
	text, err := os.ReadFile(filepath.Join(m.Machines[0].Dir, "mtu.env"))
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != "SPANCTL_MTU=1420\nSPANCTL_VXLAN_MTU=1350\n" {
		t.Errorf("mtu.env is %q", text)
	}
	harness.PodsReachEachOther(pods, networks)
	t.Run("the address of a network plugin's bridge is not published", func(t *testing.T) {
		if got := c.annotations("node-1")["networking.talos.dev/self-ips"]; got != m.Machines[0].Address.String() {
			t.Errorf("the published addresses are %q", got)
		}
	})
	t.Run("the networks change", func(t *testing.T) {
		c.kubectl("", "delete", "node", "node-2")
		m.Machines[0].API.AwaitPeersUp(0)
		c.addNode("node-2", "10.42.7.0/24")
		m.Machines[0].API.AwaitNetwork("node-2", "10.42.7.0/24")
		if out := m.Machines[0].CLI.Run("get", "kubespanpeerspecs", "-o", "json"); strings.Contains(out, "10.42.2.0/24") {
			t.Errorf("the old network is still there: %s", out)
		}
	})
	t.Run("two Nodes have the same network", func(t *testing.T) {
		third := m.Join(m.Add("node-3"))
		c.addNode("node-3", "10.42.7.0/24")
		third.Files.WriteConfig(inKubernetes(m, account, false, "advertiseKubernetesNetworks: true"))
		third.Agent.Start()
		m.Machines[0].API.AwaitPeersUp(2)
		holders := 0
		m.Machines[0].API.Await("kubespanpeerspecs", func(specs harness.Specs) bool {
			holders = 0
			for _, spec := range specs {
				holders += strings.Count(fmt.Sprint(spec["allowedIPs"]), "10.42.7.0/24")
			}
			return len(specs) == 2
		})
		if holders != 1 {
			t.Errorf("%d peers have the network", holders)
		}
		third.API.AwaitPeersUp(2)
		m.Machines[0].CLI.AwaitNoDiff()
	})
}

// TestHybridCluster has a control plane at a public address and two Nodes behind two NATs,
// which do not know their public address. The addresses of the Nodes are those of the mesh.
func TestHybridCluster(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a control plane and two Nodes behind NATs reach each other and their pods")
	m := harness.NewMesh(t, 0)
	control := m.Join(harness.NewMachine(t, m.Discovery.Node, m.Binary))
	c := startCluster(t, control)
	m.Serve()
	first, second := m.AddBehindNAT(lab.Cone, "node-1"), m.AddBehindNAT(lab.Cone, "node-2")
	account := c.account()
	networks := map[*harness.Machine]string{control: "10.42.0.0/24", first: "10.42.1.0/24", second: "10.42.2.0/24"}
	pods := map[*harness.Machine]*harness.Machine{}
	for machine, network := range networks {
		c.addNode(machine.Name, network)
		settings := []string{"advertiseKubernetesNetworks: true", "harvestExtraEndpoints: true"}
		machine.Files.WriteConfig(inKubernetes(m, account, true, settings...))
		machine.Agent.Start()
		machine.API.AwaitIdentity()
		pods[machine] = machine.AddPod("pod-of-"+machine.Name, network)
	}
	m.AwaitUp()
	for _, from := range m.Machines {
		for _, to := range m.Machines {
			if from == to {
				continue
			}
			from.Packets.Ping(to.API.MeshAddress())
			pods[from].Packets.Transfer(pods[to], pods[to].Address, 1<<20)
		}
	}
	// The others reach a kubelet at its --node-ip, which is the mesh address.
	for _, to := range m.Machines {
		for _, from := range m.Machines {
			if from != to {
				from.Packets.Transfer(to, to.API.MeshAddress(), 1<<16)
			}
		}
	}
	m.AwaitNoDiff()
}

// TestFiveHundredNodes logs an agent's memory with 500 Nodes, and the time until all are
// peers.
func TestFiveHundredNodes(t *testing.T) {
	t.Parallel()
	const nodes = 500
	m := harness.NewMesh(t, 1)
	c := startCluster(t, m.Discovery)
	account := c.account()
	one := m.Machines[0]
	one.Files.WriteConfig(inKubernetes(m, account, false))
	one.Agent.Start()
	one.API.AwaitIdentity()
	subnet := one.API.MeshAddress().As16()
	one.Agent.Terminate()
	var b strings.Builder
	for i := range nodes {
		key := [32]byte{9, byte(i), byte(i >> 8)}
		subnet[14], subnet[15] = byte(i>>8), byte(i)
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: talos-%d\n  annotations: {%s: talos-%d, %s: %q, %s: \"192.0.2.%d:51820\", %s: %q, %s: 10.%d.%d.0/24}\n",
			i, ofNodeID, i, ofPublicKey, base64.StdEncoding.EncodeToString(key[:]), ofEndpoints, i%250+1,
			ofAddress, netip.AddrFrom16(subnet).String(), ofPrefixes, 100+i/250, i%250)
	}
	c.kubectl(b.String(), "create", "-f", "-")
	c.addNode(one.Name)
	began := time.Now()
	one.Agent.Start()
	one.API.Await("kubespanpeerspecs", func(specs harness.Specs) bool { return len(specs) == nodes })
	listed := time.Since(began)
	one.CLI.AwaitNoDiff()
	t.Logf("%d Nodes: peers after %v, clean after %v, the agent has %s", nodes, listed.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), one.Agent.Memory())
}
