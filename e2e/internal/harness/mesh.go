package harness

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/lab"
)

// Mesh is a lab with a discovery server and machines that share a config.
type Mesh struct {
	*lab.Lab
	// Discovery is the machine of the discovery server, Server its process.
	Discovery *Machine
	Server    *Process
	Machines  []*Machine
	// Config is the text of the shared config.
	Config string

	t *testing.T
}

// DiscoveryPort is the TCP port of the discovery server.
const DiscoveryPort = "3000"

// NewMesh makes a lab of n machines with a config each. Neither the discovery server nor
// the agents run yet.
func NewMesh(t *testing.T, n int) *Mesh {
	t.Helper()
	return NewMeshOn(t, lab.Underlay, n)
}

// NewMeshOn makes the lab of NewMesh on a network.
func NewMeshOn(t *testing.T, network netip.Prefix, n int) *Mesh {
	t.Helper()
	l, err := lab.NewOn("", Binary(t), network)
	if err != nil {
		t.Fatal(err)
	}
	m := &Mesh{Lab: l, t: t}
	t.Cleanup(func() {
		if t.Failed() {
			m.logProcesses()
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	m.Discovery = m.Add("discovery")
	m.Config = m.Discovery.CLI.Run("gen", "config", "--with-kubespan", "--discovery-endpoint", m.Endpoint(), "-o", "-")
	for i := range n {
		m.Join(m.Add(fmt.Sprintf("node-%d", i+1)))
	}
	return m
}

// StartMesh makes a mesh of n machines with the server and all agents running.
func StartMesh(t *testing.T, n int) *Mesh {
	t.Helper()
	m := NewMesh(t, n)
	m.Start()
	return m
}

// Add adds a machine without a config.
func (m *Mesh) Add(name string) *Machine {
	m.t.Helper()
	node, err := m.AddNode(name)
	if err != nil {
		m.t.Fatal(err)
	}
	return NewMachine(m.t, node, m.Binary)
}

// Join gives a machine the shared config and counts it among the machines of the mesh.
func (m *Mesh) Join(machine *Machine) *Machine {
	m.t.Helper()
	machine.Files.WriteConfig(m.Config)
	m.Machines = append(m.Machines, machine)
	return machine
}

// AddBehindNAT adds a machine of the mesh at a site of its own.
func (m *Mesh) AddBehindNAT(nat lab.NAT, name string) *Machine {
	m.t.Helper()
	site, err := m.AddSite(name+"-router", nat)
	if err != nil {
		m.t.Fatal(err)
	}
	node, err := site.AddNode(name)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.Join(NewMachine(m.t, node, m.Binary))
}

// RouterOf returns the router of the site that a machine is at.
func (m *Mesh) RouterOf(machine *Machine) *Machine {
	m.t.Helper()
	for _, node := range m.Nodes() {
		if node.Name == machine.Name+"-router" {
			return NewMachine(m.t, node, m.Binary)
		}
	}
	m.t.Fatalf("%s has no router", machine.Name)
	return nil
}

// Start starts the discovery server and all agents.
func (m *Mesh) Start() {
	m.t.Helper()
	m.Serve()
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
}

// Serve starts the discovery server, on a store in memory unless args name another, and
// waits until it listens.
func (m *Mesh) Serve(args ...string) {
	m.t.Helper()
	args = append([]string{"discovery", "serve", "--listen", ":" + DiscoveryPort, "--insecure", "--store", "memory"}, args...)
	m.Server = m.Discovery.CLI.Start(args...)
	m.Server.AwaitOutput("serving discovery")
}

// Endpoint returns the URL of the discovery server.
func (m *Mesh) Endpoint() string { return URL(m.Discovery) }

// URL returns the URL of a discovery server on a machine.
func URL(machine *Machine) string {
	return "http://" + net.JoinHostPort(machine.Address.String(), DiscoveryPort)
}

// logProcesses logs what the processes of the mesh printed.
func (m *Mesh) logProcesses() {
	m.t.Helper()
	if m.Server != nil {
		m.t.Logf("output of the discovery server:\n%s", m.Server.Output())
	}
	for _, machine := range m.Machines {
		if machine.Agent.Process != nil {
			m.t.Logf("output of the agent of %s:\n%s", machine.Name, machine.Agent.Output())
		}
	}
}

// AwaitUp waits until every machine has all others as peers, and all are up.
func (m *Mesh) AwaitUp() {
	m.t.Helper()
	for _, machine := range m.Machines {
		machine.API.AwaitPeersUp(len(m.Machines) - 1)
	}
}

// AwaitNoDiff waits until all machines are as their configs ask. Every scenario ends so.
func (m *Mesh) AwaitNoDiff() {
	m.t.Helper()
	for _, machine := range m.Machines {
		machine.CLI.AwaitNoDiff()
	}
}

// WhilePinging pings the second machine from the first while do works, and expects that
// no ping is lost.
func (m *Mesh) WhilePinging(do func()) {
	m.t.Helper()
	pinging := m.Machines[0].Packets.KeepPinging(m.Machines[1].API.MeshAddress())
	do()
	pings := pinging.Stop()
	if pings.Lost() != 0 {
		m.t.Errorf("%d of %d pings were lost", pings.Lost(), pings.Sent)
	}
	if pings.Sent == 0 {
		m.t.Error("no pings were sent")
	}
}

// Value returns a setting of the shared config, such as the cluster's secret.
func (m *Mesh) Value(name string) string {
	_, rest, _ := strings.Cut(m.Config, "\t"+name+": \"")
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

// YAML returns the shared config in YAML.
func (m *Mesh) YAML() string {
	return `machine:
    network:
        kubespan:
            enabled: true
cluster:
    id: ` + m.Value("id") + `
    secret: ` + m.Value("secret") + `
    discovery:
        enabled: true
        registries:
            service:
                endpoint: ` + m.Endpoint() + `
`
}

// Edit returns a config with a setting added to its kubespan section.
func Edit(config, setting string) string {
	return strings.Replace(config, "enabled: true\n", "enabled: true\n\t"+setting+"\n", 1)
}

// Disabled returns a config with which the machine leaves the mesh.
func Disabled(config string) string {
	return strings.Replace(config, "enabled: true", "enabled: false", 1)
}

// Answer is an HTTP response of a server.
type Answer struct {
	Status int
	Body   string
}

// WantBody fails the test unless the response has the status and contains the text.
func (a Answer) WantBody(t *testing.T, status int, text string) {
	t.Helper()
	if a.Status != status {
		t.Errorf("status %d, want %d: %s", a.Status, status, a.Body)
	}
	if !strings.Contains(a.Body, text) {
		t.Errorf("the answer has no %q: %s", text, a.Body)
	}
}

// Call calls a method of the discovery server's protocol by hand, in JSON.
func (m *Mesh) Call(method, body string) Answer {
	m.t.Helper()
	return m.Discovery.Exec.Post(m.Endpoint()+"/sidero.discovery.server.Cluster/"+method, body)
}
