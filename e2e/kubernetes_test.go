package e2e_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/lab"
)

const (
	ofNodeID    = "cluster.talos.dev/node-id"
	ofPublicKey = "networking.talos.dev/kubespan-public-key"
	ofEndpoints = "networking.talos.dev/kubespan-endpoints"
	ofPrefixes  = "networking.talos.dev/assigned-prefixes"
	ofAddress   = "networking.talos.dev/kubespan-ip"
)

// inKubernetes is the mesh's config with Nodes as the registry, or as one of two.
func (m *mesh) inKubernetes(kubeconfig string, service bool, settings ...string) string {
	config := edit(m.config, strings.Join(settings, "\n"))
	registries := fmt.Sprintf("cluster: discovery: registries: kubernetes: {disabled: false, kubeconfig: %q}\n", kubeconfig)
	if !service {
		registries += "cluster: discovery: registries: service: disabled: true\n"
	}
	return config + registries
}

// TestKubernetesRegistry has three machines find each other by the annotations of their
// Nodes, on a real API server.
func TestKubernetesRegistry(t *testing.T) {
	scenario(t, "the Nodes of a Kubernetes cluster are the registry")
	m := newMesh(t, 3)
	c := m.discovery.kubernetes()
	account := c.account()
	for _, machine := range m.machines {
		c.addNode(machine.Name)
		machine.write(m.inKubernetes(account, false))
		machine.startAgent()
	}
	m.awaitUp()
	one, two, three := m.machines[0], m.machines[1], m.machines[2]

	t.Run("the annotations are KubeSpan's", func(t *testing.T) {
		got := c.annotations("node-1")
		for name, want := range map[string]string{
			ofNodeID: one.nodeID(), ofEndpoints: one.Address.String() + ":51820", "networking.talos.dev/self-ips": one.Address.String(),
			ofAddress: one.meshAddress().String(),
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
	t.Run("vandals", func(t *testing.T) {
		before := c.annotations("node-1")
		c.kubectl("", "annotate", "node", "node-1", "--overwrite", ofPublicKey+"=AAAA", ofEndpoints+"-", "example.com/mine=1")
		c.awaitAnnotations("node-1", func(got map[string]string) bool {
			mine := got["example.com/mine"]
			delete(got, "example.com/mine")
			return mine == "1" && maps.Equal(got, before)
		})
		m.awaitUp()
	})
	t.Run("what others say of themselves is checked", func(t *testing.T) {
		c.addNode("vandal")
		c.kubectl("", "annotate", "node", "vandal", ofNodeID+"=vandal", ofPublicKey+"="+strings.Repeat("A", 43)+"=", ofEndpoints+"=nowhere")
		two.follow("affiliates", func(specs map[string]map[string]any) bool {
			refused, _ := specs["vandal"]["refused"].(string)
			return strings.Contains(refused, "Node vandal") && strings.Contains(refused, ofEndpoints)
		})
		c.kubectl("", "delete", "node", "vandal")
	})
	t.Run("a Node is deleted and comes back", func(t *testing.T) {
		c.kubectl("", "delete", "node", "node-3")
		one.awaitUp(1)
		two.awaitUp(1)
		c.addNode("node-3")
		m.awaitUp()
	})
	t.Run("the API server is away", func(t *testing.T) {
		c.killAPI()
		one.ping(two.meshAddress())
		stop(t, one.agent)
		one.startAgent()
		one.awaitUp(2)
		one.ping(three.meshAddress())
		stop(t, two.agent)
		c.serveAPI()
		two.write(edit(m.inKubernetes(account, false), `advertisedNetworks: ["10.99.0.0/24"]`))
		two.startAgent()
		one.awaitNetwork("node-2", "10.99.0.0/24")
		m.awaitUp()
	})
	t.Run("down takes the annotations away", func(t *testing.T) {
		three.run("down")
		c.awaitAnnotations("node-3", func(got map[string]string) bool { return len(got) == 0 })
		one.awaitUp(1)
		three.run("reload")
		m.awaitUp()
	})
	m.diffsAreClean()
}

// nodeID is the machine's.
func (m *machine) nodeID() string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.StateDir(), "node-identity.yaml"))
	if err != nil {
		m.t.Fatal(err)
	}
	_, id, _ := strings.Cut(string(text), "nodeId: ")
	id, _, _ = strings.Cut(id, "\n")
	return id
}

// TestTalosRegistry has Talos' own registry annotate a Node, and read what ours has.
func TestTalosRegistry(t *testing.T) {
	scenario(t, "Talos' registry and spanctl read each other's annotations")
	registry := program(t, "talos-registry")
	m := newMesh(t, 1)
	c := m.discovery.kubernetes()
	node := m.machines[0]
	c.addNode(node.Name)
	c.addNode("talos")
	// As a kubelet's Node has some.
	c.kubectl("", "annotate", "node", "talos", "volumes.kubernetes.io/controller-managed-attach-detach=true")
	node.write(m.inKubernetes(c.account(), false, `addresses: ["10.99.0.1/24"]`, `advertisedNetworks: ["10.98.0.0/16"]`))
	node.startAgent()
	node.awaitIdentity()

	talos := m.add(t, "talos")
	const id, key = "2VfX3nu67ZtZPl57IdJrU87BMjVWkSBJiL9ulP9TCnF", "06D9QQOydzKrOL7oeLiqHy9OWE8KtmJzZII2A5/FLFI="
	inside := node.meshAddress().As16()
	inside[15]++
	address, endpoint := netip.AddrFrom16(inside), netip.AddrPortFrom(talos.Address, 51820)
	p, err := lab.Start(talos.Command(context.WithoutCancel(t.Context()), registry, c.admin, "talos", id, key, address.String(), talos.Address.String(),
		endpoint.String(), "10.97.0.0/16"))
	if err != nil {
		t.Fatal(err)
	}
	identity := strings.Fields(node.run("get", "kubespanidentities"))
	talos.await(p, fmt.Sprintf("%s %s %s %s [%s] [%s:51820] [10.98.0.0/16 10.99.0.1/32]\n", node.Name, node.nodeID(), identity[7], node.meshAddress(), node.Address, node.Address))
	node.follow("affiliates", func(specs map[string]map[string]any) bool { return specs[id] != nil })
	node.follow("kubespanpeerspecs", func(specs map[string]map[string]any) bool {
		spec := fmt.Sprint(specs[key])
		return strings.Contains(spec, endpoint.String()) && strings.Contains(spec, "10.97.0.0/16") && strings.Contains(spec, address.String()+"/128") && strings.Contains(spec, talos.Address.String()+"/32")
	})
	node.run("down")
	c.awaitAnnotations(node.Name, func(got map[string]string) bool { return got[ofNodeID] == "" })
}

// TestBothRegistries has a machine that is known to the service alone, one that is known
// to Kubernetes alone, and one that asks both.
func TestBothRegistries(t *testing.T) {
	scenario(t, "the Nodes of a Kubernetes cluster and a discovery service at once")
	m := newMesh(t, 3)
	m.serve()
	c := m.discovery.kubernetes()
	account := c.account()
	both, nodes, service := m.machines[0], m.machines[1], m.machines[2]
	c.addNode(both.Name)
	c.addNode(nodes.Name)
	both.write(m.inKubernetes(account, true))
	nodes.write(m.inKubernetes(account, false))
	for _, machine := range m.machines {
		machine.startAgent()
	}
	both.awaitUp(2)
	nodes.awaitUp(1)
	service.awaitUp(1)
	both.ping(nodes.meshAddress())
	both.ping(service.meshAddress())
	// Each alone is enough for who is in both.
	nodes.write(m.inKubernetes(account, true))
	service.write(m.inKubernetes(account, true))
	c.addNode(service.Name)
	m.awaitUp()
	c.killAPI()
	both.ping(service.meshAddress())
	c.serveAPI()
	stop(t, m.server)
	both.ping(service.meshAddress())
	service.write(edit(m.inKubernetes(account, true), `advertisedNetworks: ["10.98.0.0/24"]`))
	both.awaitNetwork(service.Name, "10.98.0.0/24")
	m.serve()
	m.awaitUp()
}

// TestKubernetesRefuses has an account that may too little, and a kubelet's credentials.
func TestKubernetesRefuses(t *testing.T) {
	m := newMesh(t, 2)
	m.serve()
	c := m.discovery.kubernetes()
	account := c.account()
	for _, machine := range m.machines {
		c.addNode(machine.Name, "10.42.1.0/24")
	}
	one, two := m.machines[0], m.machines[1]

	t.Run("too little", func(t *testing.T) {
		c.kubectl("", "patch", "clusterrole", "spanctl", "--type", "json", "-p", `[{"op": "replace", "path": "/rules/0/verbs", "value": ["get", "list", "watch"]}]`)
		one.write(m.inKubernetes(account, false))
		one.startAgent()
		one.await(one.agent, "kubernetes node not published")
		for _, want := range []string{"cannot patch resource", "deploy/kubernetes/rbac.yaml"} {
			if !strings.Contains(one.agent.Output(), want) {
				t.Errorf("it did not say %q", want)
			}
		}
		c.kubectl("", "delete", "clusterrolebinding", "spanctl")
		stop(t, one.agent)
		one.startAgent()
		one.await(one.agent, "kubernetes registry unreachable")
		// As soon as it may, it goes on by itself.
		c.account()
		c.awaitAnnotations(one.Name, func(got map[string]string) bool { return got[ofNodeID] != "" })
	})
	t.Run("a kubelet's credentials", func(t *testing.T) {
		stop(t, one.agent)
		one.write(m.inKubernetes(c.kubeconfig("kubelet", kubeletToken), true))
		one.startAgent()
		one.await(one.agent, "since Kubernetes 1.32")
		two.startAgent() // the service is enough for both
		one.awaitUp(1)
	})
	t.Run("a kubelet's credentials are enough for the pods of its Node", func(t *testing.T) {
		one.write(edit(m.config, "advertiseKubernetesNetworks: true") +
			fmt.Sprintf("cluster: discovery: registries: kubernetes: kubeconfig: %q\n", c.kubeconfig("kubelet", kubeletToken)))
		two.awaitNetwork(one.Name, "10.42.1.0/24")
	})
	t.Run("no such Node", func(t *testing.T) {
		two.write(m.inKubernetes(account, true, "") + "cluster: discovery: registries: kubernetes: nodeName: \"elsewhere\"\n")
		two.await(two.agent, "elsewhere")
		c.addNode("elsewhere")
		c.awaitAnnotations("elsewhere", func(got map[string]string) bool { return got[ofNodeID] == two.nodeID() })
	})
	t.Run("a kubeconfig that comes later", func(t *testing.T) {
		later := filepath.Join(two.Dir, "later.kubeconfig")
		two.after(func() { two.write(m.inKubernetes(later, true)) }, "read the kubeconfig")
		two.awaitUp(1)
		text, err := os.ReadFile(account)
		if err != nil {
			t.Fatal(err)
		}
		two.file("later.kubeconfig", string(text))
		c.awaitAnnotations(two.Name, func(got map[string]string) bool { return got[ofNodeID] == two.nodeID() })
	})
}

// TestExecCredentials has a kubeconfig whose credentials come from a program, which fails
// until it has a token.
func TestExecCredentials(t *testing.T) {
	m := newMesh(t, 2)
	c := m.discovery.kubernetes()
	account := c.account()
	one, two := m.machines[0], m.machines[1]
	for _, machine := range m.machines {
		c.addNode(machine.Name)
	}
	tokenFile := filepath.Join(one.Dir, "token")
	plugin := one.file("plugin", `#!/bin/sh
token=$(cat `+tokenFile+`) || exit 1
echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "'"$token"'"}}'
`)
	if err := os.Chmod(plugin, 0o700); err != nil {
		t.Fatal(err)
	}
	one.write(m.inKubernetes(c.kubeconfigOf("exec", "{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: "+plugin+"}}"), false))
	one.startAgent()
	one.await(one.agent, plugin+" failed with exit code 1")
	token := c.token()
	one.file("token", token)
	c.awaitAnnotations(one.Name, func(got map[string]string) bool { return got[ofNodeID] == one.nodeID() })
	two.write(m.inKubernetes(account, false))
	two.startAgent()
	m.awaitUp()
	if strings.Contains(one.agent.Output(), token) {
		t.Error("the agent logs the token")
	}
}

// TestPods has a pod behind each machine, with both families.
func TestPods(t *testing.T) {
	scenario(t, "pods reach pods, by both families and in whole packets")
	m := newMesh(t, 2)
	c := m.discovery.kubernetes()
	account := c.account()
	networks := [][]string{{"10.42.1.0/24", "fd42:0:0:1::/64"}, {"10.42.2.0/24", "fd42:0:0:2::/64"}}
	var pods []*machine
	for i, machine := range m.machines {
		c.addNode(machine.Name, networks[i]...)
		machine.write(m.inKubernetes(account, false, "advertiseKubernetesNetworks: true"))
		machine.startAgent()
		machine.awaitIdentity()
		pods = append(pods, machine.pod(t, fmt.Sprintf("pod-%d", i+1), networks[i]...))
	}
	m.awaitUp()
	if text, err := os.ReadFile(filepath.Join(m.machines[0].Dir, "mtu.env")); err != nil || string(text) != "SPANCTL_MTU=1420\nSPANCTL_VXLAN_MTU=1350\n" {
		t.Errorf("the MTU for network plugins is %q, %v", text, err)
	}
	reachEachOther(pods, networks)
	t.Run("the address of a network plugin's bridge is nobody's", func(t *testing.T) {
		if got := c.annotations("node-1")["networking.talos.dev/self-ips"]; got != m.machines[0].Address.String() {
			t.Errorf("it publishes %q", got)
		}
	})
	t.Run("the networks change", func(t *testing.T) {
		c.kubectl("", "delete", "node", "node-2")
		m.machines[0].awaitUp(0)
		c.addNode("node-2", "10.42.7.0/24")
		m.machines[0].awaitNetwork("node-2", "10.42.7.0/24")
		if out := m.machines[0].run("get", "kubespanpeerspecs", "-o", "json"); strings.Contains(out, "10.42.2.0/24") {
			t.Errorf("the old network is still there: %s", out)
		}
	})
	t.Run("two claim one network", func(t *testing.T) {
		third := m.join(m.add(t, "node-3"))
		c.addNode("node-3", "10.42.7.0/24")
		third.write(m.inKubernetes(account, false, "advertiseKubernetesNetworks: true"))
		third.startAgent()
		m.machines[0].awaitUp(2)
		holders := 0
		m.machines[0].follow("kubespanpeerspecs", func(specs map[string]map[string]any) bool {
			holders = 0
			for _, spec := range specs {
				holders += strings.Count(fmt.Sprint(spec["allowedIPs"]), "10.42.7.0/24")
			}
			return len(specs) == 2
		})
		if holders != 1 {
			t.Errorf("%d peers have the network", holders)
		}
		third.awaitUp(2)
		m.machines[0].awaitClean()
	})
}

// reachEachOther has each of two pods reach the other by all its networks.
func reachEachOther(pods []*machine, networks [][]string) {
	for i, from := range pods {
		from.t.Helper()
		for _, network := range networks[1-i] {
			address := netip.MustParsePrefix(network).Addr().Next().Next()
			from.ping(address)
			from.transfer(pods[1-i], address, 4<<20)
			// A packet as large as the tunnel takes, and not to be cut.
			from.role("whole", address.String(), strconv.Itoa(1420))
		}
	}
}

// TestPodsOfTheConfig has pods whose networks the config tells, as without an API server.
func TestPodsOfTheConfig(t *testing.T) {
	scenario(t, "pods reach pods by networks of the config, by both families and in whole packets")
	m := newMesh(t, 2)
	networks := [][]string{{"10.42.1.0/24", "fd42:0:0:1::/64"}, {"10.42.2.0/24", "fd42:0:0:2::/64"}}
	for i, machine := range m.machines {
		machine.write(edit(m.config, fmt.Sprintf("advertisedNetworks: [%q, %q]", networks[i][0], networks[i][1])))
	}
	m.start()
	m.awaitUp()
	var pods []*machine
	for i, machine := range m.machines {
		pods = append(pods, machine.pod(t, fmt.Sprintf("pod-%d", i+1), networks[i]...))
		machine.awaitNetwork(m.machines[1-i].Name, networks[1-i][0])
	}
	reachEachOther(pods, networks)
	m.diffsAreClean()
}

// pod adds one behind the machine, whose link has the MTU of mtu.env.
func (m *machine) pod(t *testing.T, name string, networks ...string) *machine {
	t.Helper()
	return m.podAt(t, name, setting(t, filepath.Join(m.Dir, "mtu.env"), "SPANCTL_MTU"), networks...)
}

// setting is a number in a file of NAME=VALUE.
func setting(t *testing.T, path, name string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, is := strings.CutPrefix(line, name+"="); is {
			number, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return number
		}
	}
	t.Fatalf("%s has no %s:\n%s", path, name, text)
	return 0
}

// podAt is pod with another MTU.
func (m *machine) podAt(t *testing.T, name string, mtu int, networks ...string) *machine {
	t.Helper()
	prefixes := make([]netip.Prefix, len(networks))
	for i, network := range networks {
		prefixes[i] = netip.MustParsePrefix(network)
	}
	node, err := m.AddPod(name, mtu, prefixes...)
	if err != nil {
		t.Fatal(err)
	}
	return &machine{Node: node, t: t, binary: m.binary}
}

// awaitIdentity waits until the first pass has come to its end.
func (m *machine) awaitIdentity() {
	m.t.Helper()
	m.follow("kubespanidentities", func(specs map[string]map[string]any) bool { return len(specs) == 1 })
}

// TestHybridCluster is the case that fills the trackers of other projects: a control plane
// with a public address, and two Nodes behind two NATs that do not know their address
// outside. The addresses of the Nodes are those of the mesh.
func TestHybridCluster(t *testing.T) {
	scenario(t, "a control plane and two Nodes behind NATs reach each other and their pods")
	m := newMesh(t, 0)
	control := m.join(&machine{Node: m.discovery.Node, t: t, binary: m.Binary})
	c := control.kubernetes()
	m.serve()
	first, second := m.behind(t, lab.Cone, "node-1"), m.behind(t, lab.Cone, "node-2")
	account := c.account()
	networks := map[*machine]string{control: "10.42.0.0/24", first: "10.42.1.0/24", second: "10.42.2.0/24"}
	pods := map[*machine]*machine{}
	for machine, network := range networks {
		c.addNode(machine.Name, network)
		settings := []string{"advertiseKubernetesNetworks: true", "harvestExtraEndpoints: true"}
		machine.write(m.inKubernetes(account, true, settings...))
		machine.startAgent()
		machine.awaitIdentity()
		pods[machine] = machine.pod(t, "pod-of-"+machine.Name, network)
	}
	m.awaitUp()
	for _, from := range m.machines {
		for _, to := range m.machines {
			if from == to {
				continue
			}
			from.ping(to.meshAddress())
			pods[from].transfer(pods[to], pods[to].Address, 1<<20)
		}
	}
	// What a kubelet is given with --node-ip is what the others reach it by.
	for _, to := range m.machines {
		for _, from := range m.machines {
			if from != to {
				from.transfer(to, to.meshAddress(), 1<<16)
			}
		}
	}
	m.diffsAreClean()
}

// TestFiveHundredNodes measures what an agent takes for as many Nodes: its memory, and the
// time until it has all of them as peers.
func TestFiveHundredNodes(t *testing.T) {
	const nodes = 500
	m := newMesh(t, 1)
	c := m.discovery.kubernetes()
	account := c.account()
	one := m.machines[0]
	one.write(m.inKubernetes(account, false))
	one.startAgent()
	one.awaitIdentity()
	subnet := one.meshAddress().As16()
	stop(t, one.agent)
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
	one.startAgent()
	one.follow("kubespanpeerspecs", func(specs map[string]map[string]any) bool { return len(specs) == nodes })
	listed := time.Since(began)
	one.awaitClean()
	t.Logf("%d Nodes: peers after %v, clean after %v, the agent has %s", nodes, listed.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), one.memory())
}

// awaitNetwork waits until a peer has a network.
func (m *machine) awaitNetwork(label, network string) {
	m.t.Helper()
	m.follow("kubespanpeerspecs", func(specs map[string]map[string]any) bool {
		for _, spec := range specs {
			if spec["label"] == label && strings.Contains(fmt.Sprint(spec["allowedIPs"]), network) {
				return true
			}
		}
		return false
	})
}

// memory is what the agent has in memory.
func (m *machine) memory() string {
	m.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.agent.PID()))
	if err != nil {
		m.t.Fatal(err)
	}
	_, resident, _ := strings.Cut(string(text), "RssAnon:")
	resident, _, _ = strings.Cut(resident, "\n")
	return strings.TrimSpace(resident) + " of its own"
}
