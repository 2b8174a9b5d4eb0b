package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block matches a block of a document: its language and its text.
var block = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")

// TestConfigDocumentation follows docs/config.md from its start to its end: every
// command in it is typed as it stands there, on a machine that has the files.
func TestConfigDocumentation(t *testing.T) {
	if inGuest() {
		t.Skip("the documents are not in the guest")
	}
	document, err := os.ReadFile("../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	m := startMesh(t, 1)
	node := m.machines[0]
	dir := filepath.Join(node.Dir, "home")
	put := func(path, text string) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, secrets, _ := strings.Cut(m.config, "cluster: {")
	put("base.cue", m.config)
	put("old.cue", m.config)
	put("new.cue", edit(m.config, "mtu: 1380"))
	put("web1.cue", m.config)
	put("web1.yaml", "machine: {network: {kubespan: {mtu: 1400}}}\n")
	put("site.yaml", "machine: {network: {kubespan: {filters: {endpoints: [\"!10.0.0.0/8\"]}}}}\n")
	put("cluster/secrets.cue", "package fleet\n\n_cluster: {"+secrets)

	commands := 0
	for _, found := range block.FindAllStringSubmatch(string(document), -1) {
		language, text := found[1], found[2]
		switch {
		case language == "cue" && strings.HasPrefix(text, "package fleet"):
			put("cluster/machines.cue", text)
		case language == "cue":
			put("imports.cue", text)
			if o := node.typed(dir, "spanctl validate -f imports.cue"); o.status != 0 && !strings.Contains(o.stderr, "cluster.discovery.enabled") {
				t.Errorf("the config\n%sis not valid: %s", text, o.stderr)
			}
		case language == "sh":
			for line := range strings.Lines(text) {
				line = strings.TrimSpace(line)
				if strings.Contains(line, "root@") {
					continue // TestOtherMachines has these
				}
				commands++
				o := node.typed(dir, line)
				if o.status != 0 && (o.status != 1 || !strings.Contains(line, "spanctl diff")) {
					t.Errorf("%s: status %d\n%s%s", line, o.status, o.stdout, o.stderr)
				}
			}
		}
	}
	if commands < 20 {
		t.Errorf("only %d commands were found", commands)
	}
}

// typed runs a command line in a directory, as a person does.
func (m *machine) typed(dir, line string) outcome {
	m.t.Helper()
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Symlink(m.binary, filepath.Join(bin, "spanctl")); err != nil && !os.IsExist(err) {
		m.t.Fatal(err)
	}
	cmd := m.Command(withPatience(m.t), "sh", "-c", fmt.Sprintf("cd %s && PATH=%s:$PATH && %s", dir, bin, line))
	cmd.Env = append(cmd.Env, "EDITOR=true")
	return m.finish(cmd)
}
