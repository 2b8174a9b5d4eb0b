package docs_test

import (
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/docsession"
	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestOperatingDocuments types the commands of the documents for operators, on a healthy machine
// of three. It leaves out those of other programs, and of other machines.
func TestOperatingDocuments(t *testing.T) {
	t.Parallel()
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	d := docsession.New(t, m.Machines[0])
	d.Type("spanctl wait --for healthy")
	here := strings.NewReplacer("db1", "node-2", "db2", "node-3")
	for _, document := range []string{"operate", "troubleshooting", "monitoring", "support"} {
		text := docsession.Read(t, "docs/"+document+".md")
		before := d.Commands
		for _, b := range docsession.Blocks(text) {
			for line := range strings.Lines(here.Replace(b.Text)) {
				switch {
				case b.Language != "sh" && b.Language != "shell", !strings.HasPrefix(line, "spanctl "):
				case strings.HasPrefix(line, "spanctl doctor"):
					// Discovery is in clear here, and the machine is not set up for a mesh.
					if o := d.Try(line); o.Status > 2 || o.Stdout == "" {
						t.Errorf("%s: status %d, %s", line, o.Status, o.Stderr)
					}
					d.Commands++
				default:
					d.Type(line)
				}
			}
		}
		d.TypeInline(strings.NewReplacer("`spanctl get`", "", "`spanctl wait`", "", "`spanctl doctor`", "").Replace(text))
		if d.Commands-before < 3 {
			t.Errorf("docs/%s.md has %d commands, want at least 3", document, d.Commands-before)
		}
	}
}
