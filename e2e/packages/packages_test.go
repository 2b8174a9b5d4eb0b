package packages_test

import (
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// built returns the path of what `make packages` made by a pattern of its name.
func built(t *testing.T, pattern string) string {
	t.Helper()
	harness.RequireUsers(t, "packages have files of several users")
	found, err := filepath.Glob(filepath.Join(harness.Root(t), ".cache/packages", pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		t.Fatalf("make the packages first, with `make packages`: %d files match %s, want 1", len(found), pattern)
	}
	return found[0]
}

// inOverlay returns the arguments of a command that runs a shell script on a copy of the
// host's files. The copy is gone with the command.
func inOverlay(t *testing.T, m *harness.Machine, script string) []string {
	t.Helper()
	root := filepath.Join(m.Dir, "overlay")
	if err := os.MkdirAll(root, 0o700); err != nil {
		t.Fatal(err)
	}
	prepare := `set -e
mount -t tmpfs none "$0"
mkdir "$0/up" "$0/work" "$0/root"
mount -t overlay none -o "lowerdir=/,upperdir=$0/up,workdir=$0/work" "$0/root"
for dir in proc dev sys tmp; do mount --rbind "/$dir" "$0/root/$dir"; done
mount -t tmpfs none "$0/root/run"
unset SPANCTL_CONFIG SPANCTL_STATE_DIR SPANCTL_SOCKET
exec chroot "$0/root" sh -ec "$1"`
	return []string{"unshare", "--mount", "--propagation", "private", "sh", "-ec", prepare, root, script}
}

// TestDebIsInstalledAndRemoved installs the package on a machine, which joins a mesh. After
// its removal nothing is left.
func TestDebIsInstalledAndRemoved(t *testing.T) {
	t.Parallel()
	deb := built(t, "*.deb")
	m := harness.StartMesh(t, 1)
	fresh := m.Add("fresh")
	config := fresh.Files.Write("joins.cue", m.Config)
	steps := inOverlay(t, fresh, fmt.Sprintf(`
dpkg -i %s
test "$(stat -c %%a /etc/spanctl)" = 700
test -x /usr/bin/spanctl -a -f /usr/lib/systemd/system/spanctl.service
dpkg -L spanctl | grep -qx /usr/share/man/man1/spanctl.1.gz
test -s /usr/share/bash-completion/completions/spanctl
dpkg --verify
spanctl apply -f %s
spanctl run & agent=$!
echo "the agent runs"
read -r go
kill $agent
wait $agent
dpkg -r spanctl
test ! -e /usr/bin/spanctl -a -e /var/lib/spanctl/node-identity.yaml -a -e /etc/spanctl/machine.cue
echo "the package is removed"
dpkg -P spanctl
test ! -e /var/lib/spanctl -a ! -e /etc/spanctl -a ! -e /etc/default/spanctl-discovery
echo "the package is purged"
`, deb, config))
	cmd := fresh.Command(harness.Context(t), steps[0], steps[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := harness.StartProcess(t, cmd)
	p.AwaitOutput("the agent runs")
	m.Machines[0].API.AwaitPeersUp(1)
	if _, err := fmt.Fprintln(in, "go"); err != nil {
		t.Fatal(err)
	}
	p.AwaitOutput("the package is removed")
	if fresh.Net.HasLink() {
		t.Error("the link is left")
	}
	if err := p.Wait(harness.Context(t)); err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	if !strings.Contains(p.Output(), "systemctl enable --now spanctl") {
		t.Errorf("the next step is not printed:\n%s", p.Output())
	}
}

// TestPackagesAreWellFormed has the distributions' own programs look for errors. They run on a copy of
// the host's files: rpmlint unpacks a package with absolute paths to these paths.
func TestPackagesAreWellFormed(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 0)
	rules := filepath.Join(harness.Root(t), "deploy/packages/rpmlint.toml")
	for _, check := range [][]string{
		{"lintian", "--allow-root", "--fail-on", "error", built(t, "*.deb")},
		{"rpmlint", "-c", rules, built(t, "*.rpm")},
	} {
		if _, err := exec.LookPath(check[0]); err != nil {
			harness.Unavailable(t, check[0]+" is not installed")
		}
		steps := inOverlay(t, m.Discovery, strings.Join(check, " "))
		m.Discovery.Exec.Finish(m.Discovery.Command(harness.Context(t), steps[0], steps[1:]...)).WantStatus(t, 0)
	}
}

// TestImageRuns runs spanctl in a root directory with nothing but the image's files.
func TestImageRuns(t *testing.T) {
	t.Parallel()
	image := built(t, "spanctl-image.tar")
	m := harness.NewMesh(t, 0)
	dir := filepath.Join(m.Discovery.Dir, "image")
	script := fmt.Sprintf(`mkdir -p %[1]s/root && tar -xf %[2]s -C %[1]s && cd %[1]s
for layer in *.tar.gz; do tar -xzf "$layer" -C root; done
chroot root /usr/bin/spanctl version
find root -type f`, dir, image)
	o := m.Discovery.Exec.Finish(m.Discovery.Command(harness.Context(t), "sh", "-ec", script))
	o.WantStatus(t, 0).WantStdout(t, "spanctl ")
	if n := strings.Count(o.Stdout, "\n"); n != 3 {
		t.Errorf("%d lines, want the version and two files:\n%s", n, o.Stdout)
	}
	authorities, err := os.ReadFile(filepath.Join(dir, "root/etc/ssl/certs/ca-certificates.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(authorities) {
		t.Error("the image has no certificates of authorities")
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	harness.WantText(t, "the manifest", string(manifest), `"spanctl:`)
	rpm, err := os.ReadFile(built(t, "*.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(rpm), "\xed\xab\xee\xdb") { // the lead of a package, as rpm has it
		t.Error("the .rpm is no RPM package")
	}
}

var boundingSet = regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`)

// TestCapabilitiesOfTheUnit runs an agent with the capabilities of spanctl.service only.
func TestCapabilitiesOfTheUnit(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy/systemd/spanctl.service"))
	if err != nil {
		t.Fatal(err)
	}
	set := "-all"
	for _, name := range strings.Fields(boundingSet.FindStringSubmatch(string(unit))[1]) {
		set += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
	}
	m := harness.NewMesh(t, 2)
	m.Serve()
	m.Machines[0].Agent.Start()
	least := m.Machines[1]
	least.Agent.StartCommand(least.Command(harness.Context(t), "setpriv", "--bounding-set", set, "--inh-caps", set, "--no-new-privs", least.Binary(), "run"))
	m.AwaitUp()
	least.Packets.Ping(m.Machines[0].API.MeshAddress())
	least.CLI.AwaitNoDiff()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", least.Agent.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("CapEff:\t%016x", 1<<unix.CAP_NET_ADMIN|1<<unix.CAP_NET_RAW); !strings.Contains(string(status), want) {
		t.Errorf("the agent has other capabilities than CAP_NET_ADMIN and CAP_NET_RAW:\n%s", status)
	}
}
