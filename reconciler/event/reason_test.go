package event

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/events.md")

const intro = `# Events

<!-- Written by: go test ./reconciler/event -update -->

` + "`spanctl get events`" + ` shows the last 200 things that happened; they survive a restart of the agent.
What happens again is counted. A reason is a word that does not change between versions: the code of a
[condition](conditions.md) that has begun, or one of these.

| reason | meaning |
| --- | --- |
`

// TestDocumentHasAllReasons compares docs/events.md with the definitions.
func TestDocumentHasAllReasons(t *testing.T) {
	const path = "../../docs/events.md"
	var want strings.Builder
	want.WriteString(intro)
	for _, d := range Definitions() {
		fmt.Fprintf(&want, "| `%s` | %s |\n", d.Reason, d.Summary)
	}
	got, err := os.ReadFile(path)
	if err == nil && string(got) == want.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is not current: run go test ./reconciler/event -update", path)
	}
	if err := os.WriteFile(path, []byte(want.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDefinitionsAreSorted(t *testing.T) {
	if !slices.IsSortedFunc(Definitions(), func(a, b Definition) int { return strings.Compare(string(a.Reason), string(b.Reason)) }) {
		t.Error("they are not")
	}
}
