package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
)

const (
	// ownHosts is what a machine's /etc/hosts has besides the names of the mesh.
	ownHosts = "# of the machine\n127.0.0.1\tlocalhost\n192.0.2.1\tprinter.example printer\n"
	// resolver is where a machine with the usual port answers DNS queries on loopback.
	resolver = "127.202.108.53"
)

// withNames returns a config that asks for names.
func withNames(config string) string { return harness.Edit(config, "names: enabled: true") }

// giveEtc gives a machine an /etc of its own, and returns the path of its file of hosts, outside of it.
func giveEtc(t *testing.T, m *harness.Machine, nsswitch string) string {
	t.Helper()
	dir := filepath.Join(m.Dir, "own-etc")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"hosts": ownHosts, "nsswitch.conf": nsswitch, "passwd": "root:x:0:0::/root:/bin/sh\n", "group": "root:x:0:\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m.Exec.Nodecmd("own-etc", dir)
	return filepath.Join(dir, "hosts")
}

// awaitResolved waits until a program of a machine finds a name.
func awaitResolved(t *testing.T, m *harness.Machine, name, address string) {
	t.Helper()
	awaitLookup(t, m, name, func(o harness.Outcome) bool { return strings.HasPrefix(o.Stdout, address+" ") })
}

// awaitUnknown waits until a program of a machine does not find a name.
func awaitUnknown(t *testing.T, m *harness.Machine, name string) {
	t.Helper()
	const unknown = 2 // getent(1)
	awaitLookup(t, m, name, func(o harness.Outcome) bool { return o.Status == unknown })
}

// lookupPause is the time between two lookups of a name. No event reports that programs find it.
const lookupPause = 100 * time.Millisecond

func awaitLookup(t *testing.T, m *harness.Machine, name string, enough func(harness.Outcome) bool) {
	t.Helper()
	ctx := harness.Context(t)
	for {
		o := m.Exec.Finish(m.Command(t.Context(), "getent", "hosts", name))
		if enough(o) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s on %s: status %d, %s", name, m.Name, o.Status, o.Stdout)
		case <-time.After(lookupPause):
		}
	}
}

func wantAnswer(t *testing.T, m *harness.Machine, want, network, server, name, kind string) {
	t.Helper()
	if got := strings.TrimSpace(m.Exec.Nodecmd("ask", network, server, name, kind)); got != want {
		t.Errorf("%s %s at %s by %s is %q, want %q", name, kind, server, network, got, want)
	}
}

// TestNames has machines that are found by names.
func TestNames(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "machines are found by names: in /etc/hosts, and by DNS on loopback and from the mesh; the names outlive a killed agent, and nothing of them is left when the mesh is taken down")
	harness.SkipInGuest(t, "its busybox has no getent")
	m := harness.NewMesh(t, 3)
	node, other, third := m.Machines[0], m.Machines[1], m.Machines[2]
	hosts := giveEtc(t, node, "hosts: files dns\n")
	node.Files.WriteConfig(withNames(m.Config))
	other.Files.WriteConfig(harness.Edit(m.Config, `addresses: ["10.99.0.2/24"]`))
	m.Start()
	m.AwaitUp()
	mesh := other.API.MeshAddress().String()
	awaitResolved(t, node, "node-2.span.internal", mesh)
	awaitResolved(t, node, "NODE-3.SPAN.internal", third.API.MeshAddress().String())
	awaitResolved(t, node, mesh, mesh)
	harness.WantText(t, "the name of an address", node.Exec.Run("getent", "hosts", mesh), "node-2.span.internal")
	awaitUnknown(t, node, "node-2")
	awaitUnknown(t, node, "node-9.span.internal")

	own := node.API.MeshAddress().String()
	for _, network := range []string{"udp", "tcp"} {
		wantAnswer(t, node, "NOERROR, AAAA "+mesh, network, resolver, "node-2.span.internal", "AAAA")
		wantAnswer(t, node, "NOERROR, A 10.99.0.2", network, own, "node-2.span.internal", "A")
		wantAnswer(t, other, "NOERROR, AAAA "+own, network, own, "node-1.span.internal", "AAAA")
		wantAnswer(t, other, "NXDOMAIN", network, own, "node-9.span.internal", "AAAA")
		wantAnswer(t, other, "REFUSED", network, own, "example.com", "A")
		wantAnswer(t, other, "REFUSED", network, own, "2.2.0.192.in-addr.arpa", "PTR")
	}
	node.CLI.Try("get", "names").WantStatus(t, 0).WantStdout(t, "node-2.span.internal", "10.99.0.2")
	node.CLI.Try("ping", "-c", "1", "node-2.span.internal").WantStatus(t, 0).WantStdout(t, "node-2: ")
	node.CLI.Try("wait", "--for", "peer=node-2.span.internal").WantStatus(t, 0)
	for _, kind := range []string{"peers", "peerspecs", "members", "affiliates"} {
		node.CLI.Try("get", kind, "node-2.span.internal").WantStatus(t, 0).WantStdout(t, "node-2")
	}
	node.CLI.Try("status").WantStdout(t, "span.internal, 3 machines, by /etc/hosts")

	node.Agent.Kill()
	awaitResolved(t, node, "node-2.span.internal", mesh)
	third.Exec.Nodecmd("set-hostname", "db1")
	node.Agent.Start()
	awaitResolved(t, node, "db1.span.internal", third.API.MeshAddress().String())
	awaitUnknown(t, node, "node-3.span.internal")

	node.CLI.Run("down")
	awaitUnknown(t, node, "node-2.span.internal")
	wantFile(t, hosts, ownHosts)
	node.CLI.Run("reload")
	awaitResolved(t, node, "node-2.span.internal", mesh)
	node.Agent.Kill()
	node.CLI.Run("down")
	wantFile(t, hosts, ownHosts)
	node.Agent.Start()
	node.CLI.Run("reload")
	awaitResolved(t, node, "node-2.span.internal", mesh)
	node.Files.WriteConfig(m.Config)
	awaitUnknown(t, node, "node-2.span.internal")
	wantFile(t, hosts, ownHosts)
	m.AwaitUp()
	m.AwaitNoDiff()
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || string(text) != want {
		t.Errorf("%s is %q, %v, want %q", path, text, err, want)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 4 {
		t.Errorf("beside it: %v, %v", entries, err)
	}
}

// TestNamesThatAreTaken has machines that call themselves what others do, or what nobody may be called.
func TestNamesThatAreTaken(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "two machines with one name are found by another name each, and one whose name is no host name by none")
	harness.SkipInGuest(t, "its busybox has no getent")
	m := harness.NewMesh(t, 4)
	node, first, second, hostile := m.Machines[0], m.Machines[1], m.Machines[2], m.Machines[3]
	hosts := giveEtc(t, node, "hosts: files dns\n")
	node.Files.WriteConfig(withNames(m.Config))
	for _, machine := range []*harness.Machine{first, second} {
		machine.Exec.Nodecmd("set-hostname", "vm")
	}
	hostile.Exec.Nodecmd("set-hostname", "* 192.0.2.9 printer.example")
	m.Start()
	m.AwaitUp()
	named := map[string]string{}
	node.API.Await("names", func(specs harness.Specs) bool {
		clear(named)
		for id, spec := range specs {
			named[spec["nodeId"].(string)] = id
		}
		return len(named) == 3
	})
	for _, machine := range []*harness.Machine{first, second} {
		name := named[machine.Files.NodeID()]
		if !strings.HasPrefix(name, "vm-") || len(name) != len("vm-0000.span.internal") {
			t.Errorf("the name is %q", name)
		}
		awaitResolved(t, node, name, machine.API.MeshAddress().String())
		node.CLI.Try("ping", "-c", "1", name).WantStatus(t, 0)
		harness.WantText(t, "the status", node.CLI.Try("status").Stdout, strings.TrimSuffix(name, ".span.internal"))
	}
	awaitUnknown(t, node, "vm.span.internal")
	awaitResolved(t, node, "printer.example", "192.0.2.1")
	wantCondition(t, node, "HostnameRepeated", "warning", "2 machines have this hostname", "vm-")
	text, err := os.ReadFile(hosts)
	if err != nil || strings.Contains(string(text), "192.0.2.9") || !strings.HasPrefix(string(text), ownHosts) {
		t.Errorf("the file of hosts is %q, %v", text, err)
	}
	second.Exec.Nodecmd("set-hostname", "web1")
	awaitResolved(t, node, "vm.span.internal", first.API.MeshAddress().String())
	awaitResolved(t, node, "web1.span.internal", second.API.MeshAddress().String())
	node.API.AwaitNoCondition("HostnameRepeated")
	m.AwaitNoDiff()
}

// TestNamesNotInForce has a machine on which names cannot be resolved.
func TestNamesNotInForce(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "port 53 is another program's, /etc/hosts cannot be written, or is a mount whose file was replaced: named, until it is mended")
	harness.SkipInGuest(t, "its busybox has no getent")
	m := harness.NewMesh(t, 2)
	node, other := m.Machines[0], m.Machines[1]
	hosts := giveEtc(t, node, "hosts: files dns\n")
	node.Files.WriteConfig(withNames(m.Config))
	taken := node.Exec.StartNodecmd("listen", "53")
	m.Start()
	m.AwaitUp()
	mesh := other.API.MeshAddress().String()
	wantCondition(t, node, "NamesNotInForce", "warning", "]:53: another program has port 53", "ss -lnptu sport = :53")
	awaitResolved(t, node, "node-2.span.internal", mesh)
	taken.Terminate()
	node.API.AwaitNoCondition("NamesNotInForce")
	wantAnswer(t, node, "NOERROR, AAAA "+mesh, "udp", resolver, "node-2.span.internal", "AAAA")

	// A directory is no file, and no name can be written to it.
	if err := os.Rename(hosts, hosts+".kept"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(hosts, 0o755); err != nil {
		t.Fatal(err)
	}
	other.Exec.Nodecmd("set-hostname", "db1")
	wantCondition(t, node, "NamesNotInForce", "warning", "/etc/hosts: it is not a regular file", "make it a regular file")
	if err := os.Remove(hosts); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(hosts+".kept", hosts); err != nil {
		t.Fatal(err)
	}
	node.API.AwaitNoCondition("NamesNotInForce")
	awaitResolved(t, node, "db1.span.internal", mesh)

	outside := node.Files.Write("mounted", ownHosts)
	node.Exec.Nodecmd("mount-file", outside, "/etc/hosts")
	other.Exec.Nodecmd("set-hostname", "web1")
	awaitResolved(t, node, "web1.span.internal", mesh)
	if err := os.Rename(node.Files.Write("another", "# replaced\n"), outside); err != nil {
		t.Fatal(err)
	}
	other.Exec.Nodecmd("set-hostname", "web2")
	wantCondition(t, node, "NamesNotInForce", "warning", "another program has replaced it", "systemctl restart spanctl")
	m.AwaitNoDiff()
}
