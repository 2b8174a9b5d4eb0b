package cli

import (
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
)

// TestColumnsAreAlignedOnATerminal has cells whose width differs from their length in
// bytes: wide, combined and zero-width characters.
func TestColumnsAreAlignedOnATerminal(t *testing.T) {
	labels := []string{"LABEL", "node-1", "näıve", "ノード", "e\u0301toile", "🖥️ desk", "👩‍💻"}
	var out strings.Builder
	printed := table{out: &out}
	for _, label := range labels {
		if err := printed.print([]string{label, "up"}); err != nil {
			t.Fatal(err)
		}
	}
	out.Reset()
	rows := make([][]string, len(labels))
	for i, label := range labels {
		rows[i] = []string{label, "up"}
	}
	if err := printed.print(rows...); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		before, _, found := strings.Cut(line, "up\n")
		if width := runewidth.StringWidth(before); !found || width != len("🖥️ desk")-6+gap {
			t.Errorf("the second column of %q begins at %d", line, width)
		}
	}
}
