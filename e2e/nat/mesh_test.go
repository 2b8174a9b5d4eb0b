package nat

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// mesh is machines on an Internet, with a discovery server that has a relay.
type mesh struct {
	*lab.Lab
	t        *testing.T
	internet *lab.Internet
	servers  []*server
	places   []*place
	board    *board
	// secret is a text that machines send each other, spoken one that they send in clear.
	secret, spoken string
	// config is the text of the shared config.
	config string
	// targets is the file with the mesh addresses of all machines.
	targets string
}

// server is a public machine with a discovery server and its relay.
type server struct {
	*harness.Machine
	host             *lab.Server
	process          *harness.Process
	certificate, key string
}

// place is a machine of the mesh.
type place struct {
	*harness.Machine
	access *lab.Place
	kind   lab.Kind
	// address is its own in the mesh.
	address netip.Addr
}

// discoveryPort is the port of the discovery server, by TCP and for STUN.
const discoveryPort = "443"

// newMesh makes a lab with a number of servers, which do not run yet.
func newMesh(t *testing.T, servers int) *mesh {
	t.Helper()
	l, internet, first := newInternet(t)
	m := &mesh{Lab: l, t: t, internet: internet, board: newBoard(), secret: "secret of " + l.Dir, spoken: "spoken in " + l.Dir,
		targets: filepath.Join(l.Dir, "targets")}
	m.addServer(first)
	for i := 1; i < servers; i++ {
		next, err := internet.AddServer(fmt.Sprintf("server-%d", i+1))
		if err != nil {
			t.Fatal(err)
		}
		m.addServer(next)
	}
	m.config = m.servers[0].CLI.Run("gen", "config", "--with-kubespan", "-o", "-")
	t.Cleanup(func() {
		if t.Failed() {
			m.logProcesses()
		}
	})
	return m
}

func (m *mesh) addServer(node *lab.Server) {
	m.t.Helper()
	s := &server{Machine: harness.NewMachine(m.t, node.Node, m.Binary), host: node}
	s.certificate, s.key = s.Files.Certificate(node.Second, node.IPv6, node.Second6)
	m.servers = append(m.servers, s)
}

// start starts a server, which goes on with the state of the one before.
func (s *server) start() {
	s.process = s.CLI.Start("discovery", "serve", "--listen", ":"+discoveryPort, "--tls-cert", s.certificate, "--tls-key", s.key,
		"--store", "memory", "--relay", ":51821", "--state-dir", s.Dir)
	s.process.AwaitOutput("serving discovery")
}

// add adds a machine of a kind.
func (m *mesh) add(name string, kind lab.Kind) *place {
	m.t.Helper()
	node, err := m.internet.AddPlace(name, kind)
	if err != nil {
		m.t.Fatal(err)
	}
	p := &place{Machine: harness.NewMachine(m.t, node.Node, m.Binary), access: node, kind: kind}
	m.places = append(m.places, p)
	var urls, stun, authorities []string
	for _, s := range m.servers {
		addresses := []netip.Addr{s.Address, s.host.Second}
		if kind == lab.IPv6Only {
			addresses = []netip.Addr{s.host.IPv6, s.host.Second6}
		}
		urls = append(urls, fmt.Sprintf("%q", "https://"+hostPort(addresses[0])))
		for _, a := range addresses {
			stun = append(stun, fmt.Sprintf("%q", hostPort(a)))
		}
		authorities = append(authorities, s.Files.Read(s.certificate))
	}
	config := harness.Edit(m.config, "nat: servers: ["+strings.Join(stun[:min(4, len(stun))], ", ")+"]")
	p.Files.WriteConfig(config + fmt.Sprintf("\ncluster: discovery: registries: service: {endpoints: [%s], ca: %q}\n",
		strings.Join(urls, ", "), strings.Join(authorities, "")))
	return p
}

func hostPort(a netip.Addr) string { return netip.AddrPortFrom(a, 443).String() }

// start starts the servers, all agents, and their talk.
func (m *mesh) start() {
	m.t.Helper()
	for _, s := range m.servers {
		s.start()
	}
	for _, p := range m.places {
		p.Agent.Start()
		p.API.AwaitIdentity()
		p.address = p.API.MeshAddress()
		m.board.watch(m.t.Context(), m.t, p.Machine)
		m.addTarget(p.address)
		p.Exec.StartNodecmd("talk", m.secret, m.targets)
	}
}

func (m *mesh) addTarget(address netip.Addr) {
	m.t.Helper()
	file, err := os.OpenFile(m.targets, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := fmt.Fprintln(file, address); err != nil {
		m.t.Fatal(err)
	}
}

// speak has all machines and servers send a text in clear to their gateways.
func (m *mesh) speak() {
	m.t.Helper()
	for _, machine := range m.machines() {
		machine.Exec.Nodecmd("say", m.spoken, gatewayOf(m.t, machine.Node).String(), "9")
	}
}

// machines returns the servers and the machines of the mesh.
func (m *mesh) machines() []*harness.Machine {
	var all []*harness.Machine
	for _, s := range m.servers {
		all = append(all, s.Machine)
	}
	for _, p := range m.places {
		all = append(all, p.Machine)
	}
	return all
}

// exchange has all machines send a text to all others, and receive it back.
func (m *mesh) exchange() {
	m.t.Helper()
	names := map[string]string{}
	for _, p := range m.places {
		names[p.address.String()] = p.Name
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, 4)
	for _, p := range m.places {
		args := []string{m.secret, harness.Patience.String()}
		for _, other := range m.places {
			if other != p {
				args = append(args, other.address.String())
			}
		}
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			for _, missing := range strings.Fields(p.Exec.Nodecmd("reach", args...)) {
				m.t.Errorf("%s has no answer from %s", p.Name, names[missing])
			}
		})
	}
	group.Wait()
}

// logProcesses logs what the processes of the mesh printed.
func (m *mesh) logProcesses() {
	m.t.Helper()
	for _, s := range m.servers {
		if s.process != nil {
			m.t.Logf("output of %s:\n%s", s.Name, s.process.Output())
		}
	}
	for _, p := range m.places {
		if p.Agent.Process != nil {
			m.t.Logf("output of the agent of %s:\n%s", p.Name, p.Agent.Output())
		}
	}
}
