package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

// built is what `make packages` made.
func built(t *testing.T, pattern string) string {
	t.Helper()
	if inGuest() {
		t.Skip("the packages are not in the guest")
	}
	wantsUsers(t, "packages have files of several users")
	found, err := filepath.Glob(filepath.Join("../.cache/packages", pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("make the packages first, with `make packages`: %v, %v", found, err)
	}
	path, err := filepath.Abs(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// inOverlay is a shell script on a copy of this machine's files, inside of a machine of
// the lab. What it changes is gone with it.
func (m *machine) inOverlay(script string) []string {
	m.t.Helper()
	root := filepath.Join(m.Dir, "overlay")
	if err := os.MkdirAll(root, 0o700); err != nil {
		m.t.Fatal(err)
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

// TestDebIsInstalledAndRemoved has the package on a machine that joins a mesh with it, and
// is as it was when the package has gone.
func TestDebIsInstalledAndRemoved(t *testing.T) {
	deb := built(t, "*.deb")
	m := startMesh(t, 1)
	fresh := m.add(t, "fresh")
	config := fresh.file("joins.cue", m.config)
	steps := fresh.inOverlay(fmt.Sprintf(`
dpkg -i %s
test "$(stat -c %%a /etc/spanctl)" = 700
test -x /usr/bin/spanctl -a -f /usr/lib/systemd/system/spanctl.service -a -f /usr/share/man/man1/spanctl.1
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
	cmd := fresh.Command(withPatience(t), steps[0], steps[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := lab.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	fresh.await(p, "the agent runs")
	m.machines[0].awaitUp(1)
	if _, err := fmt.Fprintln(in, "go"); err != nil {
		t.Fatal(err)
	}
	fresh.await(p, "the package is removed")
	err = fresh.Netlink(func(h *netlink.Handle) error {
		_, err := h.LinkByName(meshLink)
		return err
	})
	if !errors.As(err, &netlink.LinkNotFoundError{}) {
		t.Errorf("the link is left: %v", err)
	}
	if err := p.Wait(withPatience(t)); err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	if !strings.Contains(p.Output(), "systemctl enable --now spanctl") {
		t.Errorf("it does not say how to go on:\n%s", p.Output())
	}
}

// TestImageRuns has nothing but the image's files.
func TestImageRuns(t *testing.T) {
	image := built(t, "spanctl-image.tar")
	m := newMesh(t, 0)
	dir := filepath.Join(m.discovery.Dir, "image")
	script := fmt.Sprintf(`mkdir -p %[1]s/root && tar -xf %[2]s -C %[1]s && cd %[1]s
for layer in *.tar.gz; do tar -xzf "$layer" -C root; done
chroot root /usr/bin/spanctl version
find root -type f`, dir, image)
	o := m.discovery.finish(m.discovery.Command(withPatience(t), "sh", "-ec", script))
	if o.status != 0 || !strings.HasPrefix(o.stdout, "spanctl ") || strings.Count(o.stdout, "\n") != 2 {
		t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil || !strings.Contains(string(manifest), `"spanctl:`) {
		t.Errorf("the manifest is %s, %v", manifest, err)
	}
	if text, err := os.ReadFile(built(t, "*.rpm")); err != nil || !strings.HasPrefix(string(text), "\xed\xab\xee\xdb") {
		t.Errorf("the .rpm is none: %v", err)
	}
}

var boundingSet = regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`)

// TestCapabilitiesOfTheUnit runs an agent with no more than those of spanctl.service.
func TestCapabilitiesOfTheUnit(t *testing.T) {
	if inGuest() {
		t.Skip("the units are not in the guest")
	}
	unit, err := os.ReadFile("../deploy/systemd/spanctl.service")
	if err != nil {
		t.Fatal(err)
	}
	set := "-all"
	for _, name := range strings.Fields(boundingSet.FindStringSubmatch(string(unit))[1]) {
		set += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
	}
	m := newMesh(t, 2)
	m.serve()
	m.machines[0].startAgent()
	least := m.machines[1]
	least.startThis(least.Command(withPatience(t), "setpriv", "--bounding-set", set, "--inh-caps", set, "--no-new-privs", least.binary, "run"))
	m.awaitUp()
	least.ping(m.machines[0].meshAddress())
	least.awaitClean()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", least.agent.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("CapEff:\t%016x", 1<<unix.CAP_NET_ADMIN); !strings.Contains(string(status), want) {
		t.Errorf("the agent has other capabilities than CAP_NET_ADMIN:\n%s", status)
	}
}

// TestManifests puts what is in deploy/kubernetes before a real API server, and has an
// agent work as its pod would.
func TestManifests(t *testing.T) {
	helm := program(t, "helm")
	deploy, err := filepath.Abs("../deploy/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	m := newMesh(t, 2)
	c := m.discovery.kubernetes()
	_, rest, _ := strings.Cut(m.config, `id:`)
	id := strings.Split(rest, `"`)[1]
	_, rest, _ = strings.Cut(m.config, `secret:`)
	secret := strings.Split(rest, `"`)[1]

	t.Run("as they stand", func(t *testing.T) {
		c.kubectl("", "apply", "-f", filepath.Join(deploy, "rbac.yaml"))
		for _, name := range []string{"agent.yaml", "discovery.yaml"} {
			if o := c.tryKubectl("", "apply", "--dry-run=server", "-f", filepath.Join(deploy, name)); o.status != 0 || strings.Contains(o.stderr, "Warning") {
				t.Errorf("%s: status %d\n%s%s", name, o.status, o.stdout, o.stderr)
			}
		}
	})
	render := func(values ...string) string {
		t.Helper()
		args := []string{"template", "spanctl", filepath.Join(deploy, "chart"), "--namespace", "spanctl-system"}
		for _, v := range values {
			args = append(args, "--set", v)
		}
		o := c.finish(c.Command(withPatience(t), helm, args...))
		if o.status != 0 {
			t.Fatalf("helm %v: %s", args, o.stderr)
		}
		return o.stdout
	}
	cluster := []string{"cluster.id=" + id, "cluster.secret=" + secret}
	t.Run("helm template | kubectl apply --dry-run=server", func(t *testing.T) {
		for _, values := range [][]string{
			nil,
			{"discovery.enabled=true"},
			{"discovery.enabled=true", "discovery.tlsSecret=tls", "discovery.persistence.enabled=true", "discovery.service.type=LoadBalancer", "discovery.args={--max-clusters=10}"},
			{"agent.service.endpoint=https://discovery.example.com/", "agent.kubespan.mtu=1400", "cluster.existingSecret=mine"},
			{"agent.enabled=false", "discovery.enabled=true"},
		} {
			if o := c.tryKubectl(render(append(values, cluster...)...), "apply", "--dry-run=server", "-f", "-"); o.status != 0 || strings.Contains(o.stderr, "Warning") {
				t.Errorf("%v: status %d\n%s%s", values, o.status, o.stdout, o.stderr)
			}
		}
	})
	t.Run("an agent as its pod has it", func(t *testing.T) {
		c.kubectl(render(cluster...), "apply", "-f", "-")
		config := c.kubectl("", "get", "configmap", "spanctl", "-n", "spanctl-system", "-o", `jsonpath={.data.machine\.yaml}`)
		token := c.kubectl("", "create", "token", "spanctl", "-n", "spanctl-system")
		for i, machine := range m.machines {
			name := fmt.Sprintf("worker-%d", i+1)
			c.addNode(name)
			path := machine.file("machine.yaml", strings.ReplaceAll(config, "/etc/spanctl/secret/secret", machine.file("secret", secret)))
			dir := "/run/secrets/kubernetes.io/serviceaccount"
			if o := machine.finish(machine.Command(withPatience(t), "mkdir", "-p", dir)); o.status != 0 {
				t.Fatal(o.stderr)
			}
			if err := machine.Write(dir+"/token", strings.TrimSpace(token)); err != nil {
				t.Fatal(err)
			}
			if err := machine.Write(dir+"/ca.crt", string(c.ca)); err != nil {
				t.Fatal(err)
			}
			cmd := machine.Spanctl(t.Context(), "run")
			cmd.Env = append(cmd.Env, "SPANCTL_CONFIG="+path, "NODE_NAME="+name,
				"KUBERNETES_SERVICE_HOST="+c.Address.String(), "KUBERNETES_SERVICE_PORT=6443")
			machine.startThis(cmd)
		}
		m.awaitUp()
		c.awaitAnnotations("worker-1", func(got map[string]string) bool { return got[ofNodeID] == m.machines[0].nodeID() })
		if members := m.machines[1].run("get", "members"); !strings.Contains(members, "worker-1") {
			t.Errorf("the members are\n%s", members)
		}
	})
}
