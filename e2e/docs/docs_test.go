package docs_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/docsession"
	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestReadme types the first steps, on a machine that hosts discovery, on the first of the mesh, and on
// one that joins by the line that the first one prints.
func TestReadme(t *testing.T) {
	t.Parallel()
	text := docsession.Read(t, "README.md")
	_, text, _ = strings.Cut(text, "## First steps")
	m := harness.NewMesh(t, 0)
	host, joins, other := docsession.New(t, m.Discovery), docsession.New(t, m.Add("node-1")), docsession.New(t, m.Add("node-2"))
	text = strings.ReplaceAll(text, "203.0.113.1", host.Address.String())
	text = strings.ReplaceAll(text, "/run/spanctl/spanctl.sock", joins.Socket())
	invited := false
	for _, b := range docsession.Blocks(text) {
		language, lines := b.Language, b.Text
		switch {
		case language == "cue":
			joins.Put("small.cue", lines)
			joins.Type("spanctl validate -f small.cue")
		case language != "sh" || strings.Contains(lines, "make build"): // the binary is there
		case strings.Contains(lines, "discovery serve"):
			host.TypeAll(lines)
		case strings.Contains(lines, "curl"):
			if out := joins.Type(strings.ReplaceAll(lines, "\\\n", " ")); !strings.Contains(out, "{") {
				t.Errorf("curl got %q", out)
			}
		default:
			if strings.Contains(lines, "spanctl invite") {
				invited = true
				line := joins.Type(lines)
				other.Type("spanctl run")
				other.Type(strings.TrimSpace(line) + " --yes")
				joins.API.AwaitPeersUp(1)
				joins.CLI.AwaitNoDiff()
				continue
			}
			joins.TypeAll(lines)
		}
	}
	if joins.Commands < 7 {
		t.Errorf("%d commands for a machine that joins, want at least 7", joins.Commands)
	}
	if host.Commands != 1 {
		t.Errorf("%d commands for the discovery server, want 1", host.Commands)
	}
	if !invited {
		t.Error("no machine is invited")
	}
	joins.Type("spanctl down")
}

// TestDiscoveryDocument has a server with a certificate, an operator who lists a cluster, and
// calls of the protocol by hand.
func TestDiscoveryDocument(t *testing.T) {
	t.Parallel()
	text := docsession.Read(t, "docs/discovery.md")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	d, joined := docsession.New(t, m.Discovery), docsession.New(t, m.Machines[0])
	d.Put("machine.cue", m.Config)
	certificate, key := d.Files.Certificate()
	for from, to := range map[string]string{certificate: "cert.pem", key: "key.pem"} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		d.Put(to, string(data))
	}
	// What is removed is an affiliate of nobody: machines that are alive return.
	const id = "stranger"
	m.Call("AffiliateUpdate", fmt.Sprintf(`{"clusterId":%q,"affiliateId":%q,"affiliateData":"AAEC","ttl":"600s"}`, m.Value("id"), id)).WantBody(t, http.StatusOK, "")
	for _, b := range docsession.Blocks(text) {
		switch {
		case b.Language == "cue":
			d.Put("part.cue", b.Text)
			d.Type("spanctl gen config -o base.cue")
			d.Type("spanctl validate -f base.cue -f part.cue")
		case strings.HasPrefix(b.Text, "etcdctl"): // there is no etcd here
		case strings.HasPrefix(b.Text, "spanctl invite"):
			joined.TypeAll(b.Text)
		case strings.Contains(b.Text, "call()"):
			serve, script, _ := strings.Cut(b.Text, "\n")
			d.Type(strings.Replace(serve, "serve", "serve --listen 127.0.0.1:3001", 1))
			out := d.Type(strings.ReplaceAll(script, "127.0.0.1:3000", "127.0.0.1:3001"))
			if !strings.Contains(out, `"id":"one"`) || !strings.Contains(out, `"sent":3`) {
				t.Errorf("the calls got %s", out)
			}
		default:
			text := strings.ReplaceAll(b.Text, "NODE-ID", id)
			// The server runs: the copy becomes the store of another.
			d.TypeAll(strings.ReplaceAll(text, "restore copy.db", "restore copy.db --store bolt:other.db"))
		}
	}
	if d.Commands < 7 {
		t.Errorf("only %d commands were found", d.Commands)
	}
	joined.TypeInline(text)
}

// TestTalosDocument joins a Linux machine with sections of a Talos machine config, and
// imports whole configs.
func TestTalosDocument(t *testing.T) {
	t.Parallel()
	text := docsession.Read(t, "docs/talos.md")
	m := harness.NewMesh(t, 0)
	m.Serve()
	d := docsession.New(t, m.Add("node-1"))
	for _, b := range docsession.Blocks(text) {
		switch {
		case b.Language == "yaml":
			// The lab has no path to the default service.
			d.Put("machine.yaml", b.Text+"    registries:\n      service:\n        endpoint: "+m.Endpoint()+"\n")
			d.Put("worker.yaml", "version: v1alpha1\n"+b.Text)
		case strings.Contains(b.Text, "import"):
			d.TypeAll(b.Text)
		}
	}
	d.Type("spanctl apply -f machine.yaml")
	d.Type("spanctl run")
	d.TypeInline(text)
	if d.Commands < 6 {
		t.Errorf("only %d commands were found", d.Commands)
	}
}

// TestMeshDocument validates the settings of the document, with keys filled in.
func TestMeshDocument(t *testing.T) {
	t.Parallel()
	text := docsession.Read(t, "docs/mesh.md")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	d := docsession.New(t, m.Machines[0])
	for i, b := range docsession.Blocks(text) {
		if b.Language != "cue" {
			continue
		}
		key := `"` + strings.Repeat(string(rune('B'+i)), 42) + `A="`
		d.Put("part.cue", strings.ReplaceAll(b.Text, `"…"`, key))
		d.Put("machine.cue", m.Config)
		d.Type("spanctl validate -f machine.cue -f part.cue")
	}
	d.TypeInline(text)
	if d.Commands < 7 {
		t.Errorf("only %d commands were found", d.Commands)
	}
}

// TestConfigDocument types every command of docs/config.md, in its order, on a machine that
// has the files.
func TestConfigDocument(t *testing.T) {
	t.Parallel()
	text := docsession.Read(t, "docs/config.md")
	m := harness.StartMesh(t, 1)
	node := docsession.New(t, m.Machines[0])
	_, secrets, _ := strings.Cut(m.Config, "cluster: {")
	node.Put("base.cue", m.Config)
	node.Put("old.cue", m.Config)
	node.Put("new.cue", harness.Edit(m.Config, "mtu: 1380"))
	node.Put("web1.cue", m.Config)
	node.Put("web1.yaml", "machine: {network: {kubespan: {mtu: 1400}}}\n")
	node.Put("site.yaml", "machine: {network: {kubespan: {filters: {endpoints: [\"0.0.0.0/0\", \"!10.0.0.0/8\"]}}}}\n")
	node.Put("cluster/secrets.cue", "package fleet\n\n_cluster: {"+secrets)

	for _, b := range docsession.Blocks(text) {
		switch {
		case b.Language == "cue" && strings.HasPrefix(b.Text, "package fleet"):
			node.Put("cluster/machines.cue", b.Text)
		case b.Language == "cue":
			node.Put("imports.cue", b.Text)
			if o := node.Try("spanctl validate -f imports.cue"); o.Status != 0 && !strings.Contains(o.Stderr, "cluster.discovery.enabled") {
				t.Errorf("the config\n%sis not valid: %s", b.Text, o.Stderr)
			}
		case b.Language == "sh":
			for line := range strings.Lines(b.Text) {
				if !strings.Contains(line, "root@") { // TestOtherMachines has these
					node.Type(line)
				}
			}
		}
	}
	if node.Commands < 20 {
		t.Errorf("only %d commands were found", node.Commands)
	}
}
