package docs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/e2e/internal/docsession"
	"github.com/spanmesh/span/e2e/internal/harness"
)

// framed matches a message of a stream, with the low byte of its length in octal.
var framed = regexp.MustCompile(`\\0\\0\\0\\0\\([0-7]{3})(\{[^']*\})`)

// TestAPIDocument types the commands of docs/api.md, which has one for each call. The token is used on
// another machine, across the mesh.
func TestAPIDocument(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "each call of the API by curl as documented, also across the mesh with a token; `APIUnavailable` names a token that others can read")
	m := harness.NewMesh(t, 3)
	m.Config = strings.Replace(m.Config, "machine: network:", "machine: api: listen: \"mesh:9852\"\nmachine: network:", 1)
	for _, machine := range m.Machines {
		machine.Files.WriteConfig(m.Config)
	}
	m.Start()
	m.AwaitUp()
	d, other := docsession.New(t, m.Machines[0]), docsession.New(t, m.Machines[1])
	d.Put("machine.cue", strings.Replace(m.Config, "mesh:9852", "127.0.0.1:9852", 1))
	tools := filepath.Join(harness.Root(t), ".tools/bin")

	text := docsession.Read(t, "docs/api.md")
	for _, message := range framed.FindAllStringSubmatch(text, -1) {
		if size, err := strconv.ParseInt(message[1], 8, 16); err != nil || int(size) != len(message[2]) {
			t.Errorf("%s has %d bytes, which is %03o in octal", message[2], len(message[2]), len(message[2]))
		}
	}
	here := strings.NewReplacer("\\\n", " ", "db1", "node-2", "/run/spanctl/spanctl.sock", d.Socket(), "/var/lib/spanctl", d.StateDir(),
		"fd89:33b8:c6f9:2602:4:aff:fe00:409", d.API.MeshAddress().String())
	for _, b := range docsession.Blocks(text) {
		if b.Language != "sh" {
			continue
		}
		lines := framed.ReplaceAllStringFunc(here.Replace(b.Text), func(message string) string {
			json := framed.FindStringSubmatch(message)[2]
			return fmt.Sprintf(`\0\0\0\0\%03o%s`, len(json), json)
		})
		for line := range strings.Lines(lines) {
			switch {
			case strings.HasPrefix(line, "buf "):
				t.Run("buf", func(t *testing.T) {
					if _, err := os.Stat(filepath.Join(tools, "buf")); err != nil {
						harness.Unavailable(t, "buf is missing: `make generate` builds it")
					}
					if out := d.Type(tools + "/" + line); !strings.Contains(out, "AgentService/List") && !strings.Contains(out, `"resources"`) {
						t.Errorf("%s: %s", line, out)
					}
				})
			case strings.HasPrefix(line, "curl "):
				typist := d
				if strings.Contains(line, "Bearer") {
					typist = other
				}
				if out := typist.Type(line); out == "" || strings.Contains(out, `"code":"`) && strings.Contains(out, `"message":"`) {
					t.Errorf("%s: %s", line, out)
				}
			default:
				d.Type(line)
			}
		}
	}
	methods := agentpb.File_spanctl_agent_v1_agent_proto.Services().Get(0).Methods()
	for i := range methods.Len() {
		if name := string(methods.Get(i).Name()); !regexp.MustCompile(`(?m)^ .*http://spanctl/spanctl.agent.v1.AgentService/` + name + `$`).MatchString(text) {
			t.Errorf("docs/api.md has no command for %s", name)
		}
	}

	t.Run("a token that others can read", func(t *testing.T) {
		file := m.Machines[2].Files.Write("token", strings.Repeat("x", 40))
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
		m.Machines[2].Files.WriteConfig(m.Config + "\nmachine: api: tokenFile: \"" + file + "\"\n")
		found := m.Machines[2].API.AwaitCondition("APIUnavailable")
		if cause := fmt.Sprint(found["cause"]); cause != file+" has mode 0644: others may read or change the token" {
			t.Errorf("the cause is %q", cause)
		}
		if o := m.Machines[2].CLI.Try("status"); o.Status != 1 || !strings.Contains(o.Stdout, "! APIUnavailable mesh:9852") || !strings.Contains(o.Stdout, "chmod 600 "+file) {
			t.Errorf("status exits with %d and prints:\n%s", o.Status, o.Stdout)
		}
		if err := os.Chmod(file, 0o600); err != nil {
			t.Fatal(err)
		}
		m.Machines[2].API.AwaitNoCondition("APIUnavailable")
	})
}
