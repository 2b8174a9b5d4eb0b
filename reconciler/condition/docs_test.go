package condition

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of conditions in docs/mesh.md")

// TestDocumentHasAllConditions compares the table in docs/mesh.md with the definitions.
func TestDocumentHasAllConditions(t *testing.T) {
	const (
		path  = "../../docs/mesh.md"
		begin = "<!-- conditions: written by go test ./reconciler/condition -update -->\n"
		end   = "<!-- end of conditions -->\n"
	)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	if !found {
		t.Fatalf("%s has no line %q", path, begin)
	}
	table, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s has no line %q", path, end)
	}
	var want strings.Builder
	want.WriteString("| condition | severity | meaning | remedy |\n| --- | --- | --- | --- |\n")
	for _, d := range definitions {
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", d.Code, d.Severity, d.Summary, d.Remedy)
	}
	if table == want.String() {
		return
	}
	if !*update {
		t.Fatalf("the table of conditions in %s is not current: run go test ./reconciler/condition -update", path)
	}
	if err := os.WriteFile(path, []byte(before+begin+want.String()+end+after), 0o600); err != nil {
		t.Fatal(err)
	}
}
