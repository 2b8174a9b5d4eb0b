package resolved_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// lookupPause is the time between two lookups of a name. No event reports that programs find it.
const lookupPause = 100 * time.Millisecond

// files are those of the /etc of a machine that asks systemd-resolved for names.
var files = map[string]string{
	"hosts":         "127.0.0.1\tlocalhost\n",
	"nsswitch.conf": "hosts: files dns\n",
	"resolv.conf":   "nameserver 127.0.0.53\n",
	"machine-id":    "0123456789abcdef0123456789abcdef\n",
	"passwd":        "root:x:0:0::/root:/bin/sh\nsystemd-resolve:x:990:990::/:/usr/sbin/nologin\n",
	"group":         "root:x:0:\nsystemd-resolve:x:990:\n",
	"dbus.conf": `<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/>
    <allow send_type="method_call"/><allow send_type="method_return"/><allow send_type="signal"/><allow send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="signal"/><allow receive_type="error"/>
  </policy>
</busconfig>
`,
}

// resolver is the systemd-resolved of a machine.
type resolver struct {
	t       *testing.T
	machine *harness.Machine
	// dir has the files of its Debian package.
	dir     string
	process *harness.Process
}

// newResolver gives a machine a D-Bus and a systemd-resolved that is not started.
func newResolver(t *testing.T, m *harness.Machine) *resolver {
	t.Helper()
	dir := filepath.Join(harness.Root(t), ".cache/resolved")
	if _, err := os.Stat(filepath.Join(dir, "lib/systemd/systemd-resolved")); err != nil {
		harness.Unavailable(t, "there is no systemd-resolved: `make setup-host` unpacks it")
	}
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		harness.Unavailable(t, "there is no dbus-daemon: `make setup-host` installs it")
	}
	etc := filepath.Join(m.Dir, "own-etc")
	if err := os.MkdirAll(filepath.Join(etc, "systemd"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m.Exec.Nodecmd("own-etc", etc)
	m.Exec.Run("sh", "-c", "mkdir -p /run/dbus /run/systemd/resolve && chown 990:990 /run/systemd/resolve")
	bus := harness.StartProcess(t, m.Command(context.WithoutCancel(t.Context()), "dbus-daemon", "--config-file=/etc/dbus.conf", "--nofork", "--nopidfile", "--print-address"))
	bus.AwaitOutput("unix:path=")
	return &resolver{t: t, machine: m, dir: dir}
}

func (r *resolver) start() {
	r.t.Helper()
	r.process = harness.StartProcess(r.t, r.machine.Command(context.WithoutCancel(r.t.Context()), filepath.Join(r.dir, "lib/systemd/systemd-resolved")))
}

// ctl returns what resolvectl prints.
func (r *resolver) ctl(args ...string) string {
	r.t.Helper()
	return r.machine.Exec.Run(filepath.Join(r.dir, "usr/bin/resolvectl"), args...)
}

// peerName is the name of the second machine.
const peerName = "node-2.span.internal"

// await waits until programs find the second machine at an address; "" for not at all.
func (r *resolver) await(address string) {
	r.t.Helper()
	ctx := harness.Context(r.t)
	for {
		o := r.machine.Exec.Finish(r.machine.Command(r.t.Context(), "getent", "hosts", peerName))
		if found := strings.HasPrefix(o.Stdout, address+" "); address != "" && found || address == "" && o.Status != 0 {
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("%s: status %d, %s", peerName, o.Status, o.Stdout)
		case <-time.After(lookupPause):
		}
	}
}

// TestNamesBySystemdResolved has a machine that asks a real systemd-resolved for names.
func TestNamesBySystemdResolved(t *testing.T) {
	harness.Scenario(t, "systemd-resolved asks the agent for the names of machines, and for no others; it forgets that with the link or the setting, and keeps it while either restarts")
	m := harness.NewMesh(t, 2)
	node, other := m.Machines[0], m.Machines[1]
	r := newResolver(t, node)
	r.start()
	named := harness.Edit(m.Config, "names: enabled: true")
	node.Files.WriteConfig(named)
	m.Start()
	m.AwaitUp()
	mesh, own := other.API.MeshAddress().String(), node.API.MeshAddress().String()
	r.await(mesh)
	harness.WantText(t, "the answer of resolvectl", r.ctl("query", peerName), mesh, "link: kubespan")
	harness.WantText(t, "the name of an address", r.ctl("query", mesh), peerName)
	harness.WantText(t, "the link", r.ctl("status", "kubespan"), "-DefaultRoute", "DNSSEC=no", "-DNSOverTLS", own, "~span.internal", "ip6.arpa")
	node.CLI.Try("status").WantStdout(t, "by systemd-resolved")
	if text, err := os.ReadFile(filepath.Join(node.Dir, "own-etc/hosts")); err != nil || string(text) != files["hosts"] {
		t.Errorf("the file of hosts is %q, %v", text, err)
	}

	node.Agent.Kill()
	r.ctl("flush-caches")
	r.await("")
	node.Agent.Start()
	r.await(mesh)

	_ = r.process.Stop(unix.SIGKILL)
	r.start()
	r.await(mesh)

	// What another program changes is restored.
	r.ctl("revert", "kubespan")
	r.await(mesh)

	node.Files.WriteConfig(m.Config)
	r.await("")
	harness.WantNoText(t, "the link", r.ctl("status", "kubespan"), own, "span.internal")
	node.Files.WriteConfig(named)
	r.await(mesh)
	node.CLI.Run("down")
	r.await("")
	harness.WantNoText(t, "systemd-resolved", r.ctl("status"), "span.internal")
	node.CLI.Run("reload")
	r.await(mesh)
	m.AwaitUp()
	m.AwaitNoDiff()
}
