package condition

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/conditions.md")

const intro = `# Conditions

<!-- Written by: go test ./reconciler/condition -update -->

What is wrong has a code that does not change between versions, a cause and a remedy.
` + "`spanctl status`" + ` shows the conditions of a machine, errors first; ` + "`spanctl get conditions`" + ` has them for
programs. Each is an event and a line in the log when it begins and when it ends.

An error keeps the mesh from working as the config asks, a warning should be mended soon, and an
info is good to know. A machine with a condition that is not ready fails
` + "`spanctl status --check ready`" + `.

`

// TestDocumentHasAllConditions compares docs/conditions.md with the definitions.
func TestDocumentHasAllConditions(t *testing.T) {
	const path = "../../docs/conditions.md"
	var want strings.Builder
	want.WriteString(intro + "| condition | severity | meaning |\n| --- | --- | --- |\n")
	for _, d := range definitions {
		fmt.Fprintf(&want, "| [%s](#%s) | %s | %s |\n", d.Code, strings.ToLower(string(d.Code)), d.Severity, d.Summary)
	}
	for _, d := range definitions {
		fmt.Fprintf(&want, "\n## %s\n\n%s: %s. %s\n\n", d.Code, strings.ToUpper(string(d.Severity[:1]))+string(d.Severity[1:]), d.Summary, course(d))
		fmt.Fprintf(&want, "- Check: %s\n- Remedy: %s\n", d.Check, d.Remedy)
		if len(d.Hides) > 0 {
			hidden := make([]string, len(d.Hides))
			for i, c := range d.Hides {
				hidden[i] = fmt.Sprintf("[%s](#%s)", c, strings.ToLower(string(c)))
			}
			fmt.Fprintf(&want, "- Hides what it is the cause of: %s\n", strings.Join(hidden, ", "))
		}
	}
	got, err := os.ReadFile(path)
	if err == nil && string(got) == want.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is not current: run go test ./reconciler/condition -update", path)
	}
	if err := os.WriteFile(path, []byte(want.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// course says when a condition is shown, and what it means for readiness.
func course(d Definition) string {
	var parts []string
	if d.NotReady {
		parts = append(parts, "The machine is not ready.")
	}
	if d.Milder != "" {
		parts = append(parts, d.Milder)
	}
	switch {
	case d.After > 0 && d.Settles:
		parts = append(parts, fmt.Sprintf("It is shown after %s, and not in the first %s of an agent.", d.After, StartTime))
	case d.After > 0:
		parts = append(parts, fmt.Sprintf("It is shown after %s.", d.After))
	case d.Settles:
		parts = append(parts, fmt.Sprintf("It is not shown in the first %s of an agent.", StartTime))
	default:
		parts = append(parts, "It is shown at once.")
	}
	if d.ClearsAfter > 0 {
		parts = append(parts, fmt.Sprintf("It ends when it was absent for %s.", d.ClearsAfter))
	}
	return strings.Join(parts, " ")
}
