package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/lab"
)

// block matches a block of a document: its indentation, its language and its text.
var block = regexp.MustCompile("(?ms)^( *)```([a-z]*)\n(.*?)^ *```$")

// inline matches a command in a sentence that can be typed as it stands.
var inline = regexp.MustCompile("`(spanctl [a-z0-9 ./-]+)`")

// piece is a block of a document.
type piece struct{ language, text string }

// document reads a document, and the blocks in it.
func document(t *testing.T, path string) (text string, blocks []piece) {
	t.Helper()
	if inGuest() {
		t.Skip("the documents are not in the guest")
	}
	raw, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range block.FindAllStringSubmatch(string(raw), -1) {
		blocks = append(blocks, piece{found[2], regexp.MustCompile("(?m)^"+found[1]).ReplaceAllString(found[3], "")})
	}
	return string(raw), blocks
}

// desk is where somebody sits who follows a document.
type desk struct {
	*machine
	dir      string
	commands int
}

func (m *machine) desk() *desk { return &desk{machine: m, dir: filepath.Join(m.Dir, "home")} }

// put writes a file at the desk.
func (d *desk) put(path, text string) {
	d.t.Helper()
	path = filepath.Join(d.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// types enters a line as it stands, and looks at what comes of it. What goes on runs on
// in the background, as in another terminal, but for what only watches.
func (d *desk) types(line string) string {
	d.t.Helper()
	line, _, _ = strings.Cut(strings.TrimSpace(line), "  #")
	line = strings.TrimSuffix(strings.TrimSpace(line), " &")
	d.commands++
	switch {
	case strings.Contains(line+" ", " serve ") && !strings.Contains(line, "--help"):
		d.await(d.begin(line), "serving discovery")
		return ""
	case line == "spanctl run":
		d.agent = d.begin(line)
		d.await(d.agent, "the agent starts")
		return ""
	case strings.Contains(line, " watch ") || strings.HasSuffix(line, " -w"):
		p := d.begin(line)
		d.await(p, "\n")
		stop(d.t, p)
		return ""
	}
	o := d.typed(d.dir, line)
	if o.status != 0 && (o.status != 1 || !strings.Contains(line, "spanctl diff")) {
		d.t.Errorf("%s: status %d\n%s%s", line, o.status, o.stdout, o.stderr)
	}
	return o.stdout
}

// typesAll enters the lines of a block.
func (d *desk) typesAll(text string) {
	d.t.Helper()
	for line := range strings.Lines(text) {
		d.types(line)
	}
}

// begin starts a command that goes on.
func (d *desk) begin(line string) *lab.Process {
	d.t.Helper()
	p, err := lab.Start(d.shell(d.t.Context(), d.dir, "exec "+line))
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// typesInline enters the commands that are named in sentences.
func (d *desk) typesInline(text string) {
	d.t.Helper()
	for _, found := range inline.FindAllStringSubmatch(text, -1) {
		if found[1] != "spanctl run" { // it runs
			d.types(found[1])
		}
	}
}

// TestReadmeIsFollowed is the first steps, on one machine that hosts discovery and on
// two that join.
func TestReadmeIsFollowed(t *testing.T) {
	requiresCurl(t)
	text, _ := document(t, "README.md")
	_, text, _ = strings.Cut(text, "## First steps")
	m := newMesh(t, 0)
	host, joins, other := m.discovery.desk(), m.add(t, "node-1").desk(), m.add(t, "node-2").desk()
	text = strings.ReplaceAll(text, "203.0.113.1", host.Address.String())
	text = strings.ReplaceAll(text, "/run/spanctl/spanctl.sock", joins.Socket())
	applied := false
	for _, found := range block.FindAllStringSubmatch(text, -1) {
		language, lines := found[2], found[3]
		switch {
		case language == "cue":
			joins.put("small.cue", lines)
			joins.types("spanctl validate -f small.cue")
		case language != "sh" || strings.Contains(lines, "make build"): // the binary is there
		case strings.Contains(lines, "discovery serve"):
			host.typesAll(lines)
		case strings.Contains(lines, "curl"):
			if out := joins.types(strings.ReplaceAll(lines, "\\\n", " ")); !strings.Contains(out, "{") {
				t.Errorf("curl got %q", out)
			}
		default:
			joins.typesAll(lines)
			if strings.Contains(lines, "spanctl run") {
				applied = true
				config, err := os.ReadFile(filepath.Join(joins.dir, "machine.cue"))
				if err != nil {
					t.Fatal(err)
				}
				other.put("machine.cue", string(config))
				other.typesAll(lines)
				joins.awaitUp(1)
				joins.awaitClean()
			}
		}
	}
	if joins.commands < 7 || host.commands != 1 || !applied {
		t.Errorf("%d and %d commands were found", joins.commands, host.commands)
	}
	joins.types("spanctl down")
}

// TestDiscoveryDocumentationIsFollowed has a server with a certificate, an operator who
// looks into a cluster, and somebody who speaks the protocol by hand.
func TestDiscoveryDocumentationIsFollowed(t *testing.T) {
	requiresCurl(t)
	text, blocks := document(t, "docs/discovery.md")
	m := startMesh(t, 2)
	m.awaitUp()
	d := m.discovery.desk()
	d.put("machine.cue", m.config)
	certificate, key := d.certificate()
	for from, to := range map[string]string{certificate: "cert.pem", key: "key.pem"} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		d.put(to, string(data))
	}
	var id string
	for line := range strings.Lines(d.types("spanctl discovery list -f machine.cue")) {
		if strings.Contains(line, m.machines[0].Name) {
			id = strings.Fields(line)[0]
		}
	}
	for _, b := range blocks {
		switch {
		case b.language == "cue":
			d.put("part.cue", b.text)
			d.types("spanctl gen config -o base.cue")
			d.types("spanctl validate -f base.cue -f part.cue")
		case strings.Contains(b.text, "call()"):
			serve, script, _ := strings.Cut(b.text, "\n")
			d.types(strings.Replace(serve, "serve", "serve --listen 127.0.0.1:3001", 1))
			out := d.types(strings.ReplaceAll(script, "127.0.0.1:3000", "127.0.0.1:3001"))
			if !strings.Contains(out, `"id":"one"`) {
				t.Errorf("the calls got %s", out)
			}
		default:
			d.typesAll(strings.ReplaceAll(b.text, "NODE-ID", id))
		}
	}
	if d.commands < 7 {
		t.Errorf("only %d commands were found", d.commands)
	}
	joined := m.machines[0].desk()
	joined.typesInline(text)
}

// TestTalosDocumentationIsFollowed joins a Linux machine with the sections of a Talos
// machine config, and imports whole ones.
func TestTalosDocumentationIsFollowed(t *testing.T) {
	text, blocks := document(t, "docs/talos.md")
	m := newMesh(t, 0)
	m.serve()
	d := m.add(t, "node-1").desk()
	for _, b := range blocks {
		switch {
		case b.language == "yaml":
			// Nothing leaves the lab.
			d.put("machine.yaml", b.text+"    registries:\n      service:\n        endpoint: "+m.endpoint()+"\n")
			d.put("worker.yaml", "version: v1alpha1\n"+b.text)
		case strings.Contains(b.text, "import"):
			d.typesAll(b.text)
		}
	}
	d.types("spanctl apply -f machine.yaml")
	d.types("spanctl run")
	d.typesInline(text)
	if d.commands < 6 {
		t.Errorf("only %d commands were found", d.commands)
	}
}

// TestKubernetesDocumentationIsFollowed has an API server. What installs k3s or Kubernetes
// itself, or asks the service manager, is left out.
func TestKubernetesDocumentationIsFollowed(t *testing.T) {
	text, blocks := document(t, "docs/kubernetes.md")
	m := newMesh(t, 0)
	m.serve()
	c := m.discovery.kubernetes()
	d := m.add(t, "worker-1").desk()
	c.addNode("worker-1", "fd42::/64")
	d.put("ca.crt", string(c.ca))
	deploy, err := filepath.Abs("../deploy")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(d.dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{deploy: filepath.Join(d.dir, "deploy"), program(t, "kubectl"): filepath.Join(bin, "kubectl"), program(t, "helm"): filepath.Join(bin, "helm")} {
		if err := os.Symlink(from, to); err != nil {
			t.Fatal(err)
		}
	}
	kubeconfig := filepath.Join(d.dir, "kubeconfig")
	here := strings.NewReplacer("203.0.113.1", m.discovery.Address.String(), "/etc/spanctl/kubeconfig", kubeconfig, "cluster.id=ID", "cluster.id=EUsCYz+oHNuBppS51P9aKSIOyYvIPmbZK944PWgiyMQ=",
		"cluster.secret=SECRET", "cluster.secret=AbdsWjY9i797kGglghKvtGdxCsdllX9CemLq+WGVeaw=")
	foreign := regexp.MustCompile(`systemctl|k3s|kubeadm|^ip |^ *--`)
	settings := 0
	for _, b := range blocks {
		switch b.language {
		case "cue":
			settings++
			d.put("part.cue", here.Replace(b.text))
			d.types("spanctl gen config --with-kubespan --force -o base.cue")
			d.types("spanctl validate -f base.cue -f part.cue")
		case "sh":
			for line := range strings.Lines(b.text) {
				if strings.HasPrefix(line, "kubectl apply") || strings.HasPrefix(line, "kubectl -n") || strings.HasPrefix(line, "helm") {
					line = strings.Replace("KUBECONFIG="+c.admin+" "+line, "--create-namespace", "--set agent.rbac.create=false", 1)
				}
				if strings.HasPrefix(line, "MESH=") {
					d.awaitIdentity()
					if out := d.types(strings.TrimSpace(line) + "; echo $MESH"); strings.TrimSpace(out) != d.meshAddress().String() {
						t.Errorf("the mesh's address is %q", out)
					}
				} else if !foreign.MatchString(line) {
					d.types(here.Replace(line))
				}
				if strings.HasPrefix(line, "spanctl apply") {
					d.types("spanctl run")
				}
			}
		}
	}
	// The account of the document is good for the registry.
	if err := os.WriteFile(filepath.Join(d.dir, "registry.cue"), []byte(edit(read(t, filepath.Join(d.dir, "machine.cue")), "advertiseKubernetesNetworks: true")+
		fmt.Sprintf("cluster: discovery: registries: kubernetes: {disabled: false, kubeconfig: %q}\n", kubeconfig)), 0o600); err != nil {
		t.Fatal(err)
	}
	d.types("spanctl apply -f registry.cue --immediate")
	c.awaitAnnotations("worker-1", func(got map[string]string) bool { return got[ofPrefixes] == "fd42::/64" })
	d.typesInline(text)
	if d.commands < 20 || settings < 4 {
		t.Errorf("only %d commands and %d settings were found", d.commands, settings)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestMeshDocumentationIsFollowed takes its settings as they stand, but for the keys.
func TestMeshDocumentationIsFollowed(t *testing.T) {
	text, blocks := document(t, "docs/mesh.md")
	m := startMesh(t, 2)
	m.awaitUp()
	d := m.machines[0].desk()
	for i, b := range blocks {
		if b.language != "cue" {
			continue
		}
		key := `"` + strings.Repeat(string(rune('B'+i)), 42) + `A="`
		d.put("part.cue", strings.ReplaceAll(b.text, `"…"`, key))
		d.put("machine.cue", m.config)
		d.types("spanctl validate -f machine.cue -f part.cue")
	}
	d.typesInline(text)
	if d.commands < 7 {
		t.Errorf("only %d commands were found", d.commands)
	}
}

// TestConfigDocumentation follows docs/config.md from its start to its end: every
// command in it is typed as it stands there, on a machine that has the files.
func TestConfigDocumentation(t *testing.T) {
	_, blocks := document(t, "docs/config.md")
	m := startMesh(t, 1)
	node := m.machines[0].desk()
	_, secrets, _ := strings.Cut(m.config, "cluster: {")
	node.put("base.cue", m.config)
	node.put("old.cue", m.config)
	node.put("new.cue", edit(m.config, "mtu: 1380"))
	node.put("web1.cue", m.config)
	node.put("web1.yaml", "machine: {network: {kubespan: {mtu: 1400}}}\n")
	node.put("site.yaml", "machine: {network: {kubespan: {filters: {endpoints: [\"!10.0.0.0/8\"]}}}}\n")
	node.put("cluster/secrets.cue", "package fleet\n\n_cluster: {"+secrets)

	for _, b := range blocks {
		switch {
		case b.language == "cue" && strings.HasPrefix(b.text, "package fleet"):
			node.put("cluster/machines.cue", b.text)
		case b.language == "cue":
			node.put("imports.cue", b.text)
			if o := node.typed(node.dir, "spanctl validate -f imports.cue"); o.status != 0 && !strings.Contains(o.stderr, "cluster.discovery.enabled") {
				t.Errorf("the config\n%sis not valid: %s", b.text, o.stderr)
			}
		case b.language == "sh":
			for line := range strings.Lines(b.text) {
				if !strings.Contains(line, "root@") { // TestOtherMachines has these
					node.types(line)
				}
			}
		}
	}
	if node.commands < 20 {
		t.Errorf("only %d commands were found", node.commands)
	}
}

// typed runs a command line in a directory, as a person does.
func (m *machine) typed(dir, line string) outcome {
	m.t.Helper()
	return m.finish(m.shell(withPatience(m.t), dir, line))
}

// shell is a command line in a directory.
func (m *machine) shell(ctx context.Context, dir, line string) *exec.Cmd {
	m.t.Helper()
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Symlink(m.binary, filepath.Join(bin, "spanctl")); err != nil && !os.IsExist(err) {
		m.t.Fatal(err)
	}
	cmd := m.Command(ctx, "sh", "-c", fmt.Sprintf("cd %s && PATH=%s:$PATH && %s", dir, bin, line))
	cmd.Env = append(cmd.Env, "EDITOR=true")
	return cmd
}
