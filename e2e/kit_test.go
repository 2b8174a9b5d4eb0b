package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/e2e/lab"
)

// patience bounds every wait: long, since a machine may be slow, as the guest is,
// and never what a test is about.
var patience = map[bool]time.Duration{false: 60 * time.Second, true: 150 * time.Second}[inGuest()]

func TestMain(m *testing.M) {
	os.Exit(lab.Main(roles, m.Run))
}

// spanctl is the binary under test.
func spanctl(t *testing.T) string {
	t.Helper()
	path := os.Getenv("SPANCTL_BINARY")
	if path == "" {
		path = "../bin/spanctl"
	}
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("build the binary first, with `make build`: %v", err)
	}
	return path
}

// mesh is a lab with a discovery server and machines that share a config.
type mesh struct {
	*lab.Lab
	discovery *machine
	server    *lab.Process
	machines  []*machine
	// config is the text of the shared config.
	config string
}

// machine is a node with its agent.
type machine struct {
	*lab.Node
	t      *testing.T
	binary string
	agent  *lab.Process
}

// newMesh makes a lab of n machines with a config each; neither the discovery
// server nor the agents run yet.
func newMesh(t *testing.T, n int) *mesh {
	t.Helper()
	return newMeshOn(t, lab.Underlay, n)
}

// newMeshOn is newMesh on a network of choice.
func newMeshOn(t *testing.T, network netip.Prefix, n int) *mesh {
	t.Helper()
	l, err := lab.NewOn("", spanctl(t), network)
	if err != nil {
		t.Fatal(err)
	}
	m := &mesh{Lab: l}
	t.Cleanup(func() {
		if t.Failed() {
			m.report(t)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	m.discovery = m.add(t, "discovery")
	m.config = m.discovery.run("gen", "config", "--with-kubespan", "--discovery-endpoint", m.endpoint(), "-o", "-")
	for i := range n {
		m.join(m.add(t, fmt.Sprintf("node-%d", i+1)))
	}
	return m
}

// join gives a machine the config that all share.
func (m *mesh) join(machine *machine) *machine {
	machine.write(m.config)
	m.machines = append(m.machines, machine)
	return machine
}

// start starts the discovery server and all agents.
func (m *mesh) start() {
	m.discovery.t.Helper()
	m.serve()
	for _, machine := range m.machines {
		machine.startAgent()
	}
}

const port = "3000"

func (m *mesh) endpoint() string {
	return "http://" + net.JoinHostPort(m.discovery.Address.String(), port)
}

func (m *mesh) add(t *testing.T, name string) *machine {
	t.Helper()
	node, err := m.AddNode(name)
	if err != nil {
		t.Fatal(err)
	}
	return &machine{Node: node, t: t, binary: m.Binary}
}

// report shows what the processes said.
func (m *mesh) report(t *testing.T) {
	t.Helper()
	if m.server != nil {
		t.Logf("the discovery server said:\n%s", m.server.Output())
	}
	for _, machine := range m.machines {
		if machine.agent != nil {
			t.Logf("the agent of %s said:\n%s", machine.Name, machine.agent.Output())
		}
	}
}

// serve starts the discovery server and waits until it listens.
func (m *mesh) serve(args ...string) {
	m.discovery.t.Helper()
	args = append([]string{"discovery", "serve", "--listen", ":" + port, "--insecure", "--store", "memory"}, args...)
	m.server = m.discovery.start(args...)
	m.discovery.await(m.server, "serving discovery")
}

// startMesh makes a mesh of n machines with everything running.
func startMesh(t *testing.T, n int) *mesh {
	t.Helper()
	m := newMesh(t, n)
	m.start()
	return m
}

// awaitUp waits until every machine sees all the others up.
func (m *mesh) awaitUp() {
	for _, machine := range m.machines {
		machine.t.Helper()
		machine.awaitUp(len(m.machines) - 1)
	}
}

// awaitDiscovered waits until discovery tells the machine of another.
func (m *machine) awaitDiscovered(other *machine) {
	m.t.Helper()
	p := m.start("discovery", "watch")
	m.await(p, other.Name)
	stop(m.t, p)
}

func withPatience(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// write puts text into the machine's config as many editors do: into another
// file, which then takes the place of the old one.
func (m *machine) write(text string) {
	m.t.Helper()
	fresh := filepath.Join(filepath.Dir(m.Config()), ".machine.cue.swp")
	if err := errors.Join(os.WriteFile(fresh, []byte(text), 0o600), os.Rename(fresh, m.Config())); err != nil {
		m.t.Fatal(err)
	}
}

// file writes a file beside the machine's config and returns its path.
func (m *machine) file(name, text string) string {
	m.t.Helper()
	path := filepath.Join(m.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// start starts spanctl with arguments beside the test.
func (m *machine) start(args ...string) *lab.Process {
	m.t.Helper()
	// Not bound to the test's context, which ends before the lab is closed:
	// the holder ends what still runs.
	p, err := lab.Start(m.Spanctl(context.WithoutCancel(m.t.Context()), args...))
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

func (m *machine) await(p *lab.Process, text string) {
	m.t.Helper()
	if _, err := p.Await(withPatience(m.t), 0, text); err != nil {
		m.t.Fatal(err)
	}
}

// after does something and waits until the agent says text from then on.
func (m *machine) after(do func(), text string) {
	m.t.Helper()
	from := len(m.agent.Output())
	do()
	if _, err := m.agent.Await(withPatience(m.t), from, text); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) startAgent() {
	m.t.Helper()
	m.agent = m.start("run")
	m.await(m.agent, "the agent starts")
}

// startThis starts an agent with a command of the test's own.
func (m *machine) startThis(cmd *exec.Cmd) {
	m.t.Helper()
	p, err := lab.Start(cmd)
	if err != nil {
		m.t.Fatal(err)
	}
	m.agent = p
	m.await(m.agent, "the agent starts")
}

func (m *machine) killAgent() {
	m.t.Helper()
	var exit *exec.ExitError
	if err := m.agent.Stop(unix.SIGKILL); !errors.As(err, &exit) {
		m.t.Fatalf("the agent ended otherwise than by the signal: %v", err)
	}
}

// outcome is what a command came to.
type outcome struct {
	stdout, stderr string
	status         int
}

// try runs spanctl to its end, whatever it comes to.
func (m *machine) try(args ...string) outcome {
	m.t.Helper()
	return m.finish(m.Spanctl(withPatience(m.t), args...))
}

func (m *machine) finish(cmd *exec.Cmd) outcome {
	m.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatalf("%v: %v", cmd.Args, err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// run runs spanctl, which must succeed, and returns its standard output.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	o := m.try(args...)
	if o.status != 0 {
		m.t.Fatalf("spanctl %s: status %d\n%s%s", strings.Join(args, " "), o.status, o.stdout, o.stderr)
	}
	return o.stdout
}

// powerless is spanctl without the right to configure the network.
func (m *machine) powerless(args ...string) *exec.Cmd {
	m.t.Helper()
	cmd, err := m.Role(withPatience(m.t), "powerless", append([]string{m.binary}, args...)...)
	if err != nil {
		m.t.Fatal(err)
	}
	return cmd
}

// role runs this program in the node, in a role that must succeed.
func (m *machine) role(role string, args ...string) string {
	m.t.Helper()
	cmd, err := m.Role(withPatience(m.t), role, args...)
	if err != nil {
		m.t.Fatal(err)
	}
	o := m.finish(cmd)
	if o.status != 0 {
		m.t.Fatalf("%s %v on %s: %s", role, args, m.Name, o.stderr)
	}
	return o.stdout
}

// startRole starts this program in the node beside the test, and waits until it
// says that it is ready.
func (m *machine) startRole(role string, args ...string) *lab.Process {
	m.t.Helper()
	cmd, err := m.Role(context.WithoutCancel(m.t.Context()), role, args...)
	if err != nil {
		m.t.Fatal(err)
	}
	p, err := lab.Start(cmd)
	if err != nil {
		m.t.Fatal(err)
	}
	m.await(p, roleReady)
	return p
}

// api calls the machine's agent.
func (m *machine) api() agentpbconnect.AgentServiceClient {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", m.Socket())
	}}
	m.t.Cleanup(transport.CloseIdleConnections)
	return agentpbconnect.NewAgentServiceClient(&http.Client{Transport: transport}, "http://spanctl")
}

// follow watches resources of a type until enough says so of their specs by ID.
func (m *machine) follow(kind string, enough func(map[string]map[string]any) bool) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	stream, err := m.api().Watch(ctx, connect.NewRequest(&agentpb.WatchRequest{Type: kind}))
	if err != nil {
		m.t.Fatalf("watch %s of %s: %v", kind, m.Name, err)
	}
	specs := map[string]map[string]any{}
	for stream.Receive() {
		for _, e := range stream.Msg().GetEvents() {
			if e.GetDeleted() {
				delete(specs, e.GetResource().GetMetadata().GetId())
			} else {
				specs[e.GetResource().GetMetadata().GetId()] = e.GetResource().GetSpec().AsMap()
			}
		}
		if enough(specs) {
			return
		}
	}
	m.t.Fatalf("%s of %s did not come to what was awaited: %v\nthe last: %v", kind, m.Name, stream.Err(), specs)
}

// awaitUp waits until exactly n peers are there, and all are up.
func (m *machine) awaitUp(n int) {
	m.t.Helper()
	m.follow("kubespanpeerstatuses", func(specs map[string]map[string]any) bool {
		for _, spec := range specs {
			if spec["state"] != "up" {
				return false
			}
		}
		return len(specs) == n
	})
}

// awaitClean waits until the kernel is as the config asks. A pass may be under
// way, which no event tells the end of.
func (m *machine) awaitClean() {
	m.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		o := m.try("diff")
		switch {
		case o.status == 0 && o.stdout == "":
			return
		case o.status != 1 || time.Now().After(deadline):
			m.t.Fatalf("diff of %s: status %d\n%s%s", m.Name, o.status, o.stdout, o.stderr)
		}
	}
}

// meshAddress is the machine's address in the mesh.
func (m *machine) meshAddress() netip.Addr {
	m.t.Helper()
	response, err := m.api().List(withPatience(m.t), connect.NewRequest(&agentpb.ListRequest{Type: "kubespanidentity"}))
	if err != nil || len(response.Msg.GetResources()) != 1 {
		m.t.Fatalf("the identity of %s: %v, %v", m.Name, response, err)
	}
	prefix, err := netip.ParsePrefix(response.Msg.GetResources()[0].GetSpec().AsMap()["address"].(string))
	if err != nil {
		m.t.Fatal(err)
	}
	return prefix.Addr()
}

// linkAddress is the mesh address that the machine's link has, agent or not.
func (m *machine) linkAddress() netip.Addr {
	m.t.Helper()
	address, err := netip.ParseAddr(strings.TrimSpace(m.role("address")))
	if err != nil {
		m.t.Fatal(err)
	}
	return address
}

// ping expects an answer from another machine at its mesh address.
func (m *machine) ping(to netip.Addr) {
	m.t.Helper()
	if _, err := m.Ping(withPatience(m.t), to); err != nil {
		m.t.Fatal(err)
	}
}

// edit returns a config with a setting added to its kubespan section.
func edit(config, setting string) string {
	return strings.Replace(config, "enabled: true\n", "enabled: true\n\t"+setting+"\n", 1)
}

// behind adds a site with a machine of the mesh in it.
func (m *mesh) behind(t *testing.T, nat lab.NAT, name string) *machine {
	t.Helper()
	site, err := m.AddSite(name+"-router", nat)
	if err != nil {
		t.Fatal(err)
	}
	node, err := site.AddNode(name)
	if err != nil {
		t.Fatal(err)
	}
	return m.join(&machine{Node: node, t: t, binary: m.Binary})
}

// diffsAreClean checks, as every scenario does at its end, that all machines are
// what their configs ask for.
func (m *mesh) diffsAreClean() {
	for _, machine := range m.machines {
		machine.t.Helper()
		machine.awaitClean()
	}
}

// awaitPeer waits until a peer is as enough says of its status.
func (m *machine) awaitPeer(label string, enough func(spec map[string]any) bool) {
	m.t.Helper()
	m.follow("kubespanpeerstatuses", func(specs map[string]map[string]any) bool {
		for _, spec := range specs {
			if spec["label"] == label && enough(spec) {
				return true
			}
		}
		return false
	})
}

// isUp is for awaitPeer.
func isUp(spec map[string]any) bool { return spec["state"] == "up" }

// aWhile is how long a packet that is not to arrive is given to do so.
const aWhile = 2 * time.Second

// answers tells whether a ping is answered in a while.
func (m *machine) answers(to netip.Addr) bool {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), aWhile)
	defer cancel()
	_, err := m.Ping(ctx, to)
	return err == nil
}

// wantsUsers skips a test in the user namespace of somebody who is not root, which has one
// user.
func wantsUsers(t *testing.T, why string) {
	t.Helper()
	users, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	if fields := strings.Fields(string(users)); len(fields) == 3 && fields[2] == "1" {
		t.Skip("this user namespace has one user, and " + why)
	}
}
