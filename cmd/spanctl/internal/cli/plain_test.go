package cli

import (
	"strings"
	"testing"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

// hostile is a label that colours the terminal, rings its bell, begins a line and turns the
// direction of the text.
const (
	hostile = "ev\x1b[31mil\a\n\u202egnp"
	escaped = `ev\x1b[31mil\a\n\u202egnp`
)

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		hostile:    escaped,
		"\u009b2J": `\u009b2J`,
		"ノード 👩‍💻":  "ノード 👩‍💻",
	} {
		if got := plain(text); got != want {
			t.Errorf("plain(%q) is %q, want %q", text, got, want)
		}
	}
}

// TestLabelsDoNotControlTheTerminal prints a hostile label in all ways that are for people.
func TestLabelsDoNotControlTheTerminal(t *testing.T) {
	change := &agentpb.Change{Action: "update", Kind: "peer", Id: "key", Label: hostile, Text: "~ peer key (" + hostile + ")",
		Fields: []*agentpb.Field{{Name: "endpoint", From: hostile, To: hostile}}}
	plan := &agentpb.Plan{Changes: []*agentpb.Change{change}, Impact: []string{hostile}, Warnings: []string{hostile}}
	for name, show := range map[string]func(s streams) error{
		"table":   func(s streams) error { return (&table{out: s.out}).print([]string{hostile}) },
		"done":    func(s streams) error { return printDone(s, plan) },
		"dry run": func(s streams) error { return printDryRun(s, plan) },
		"unified": func(s streams) error {
			p := painter{out: s.out}
			return p.plan(comparison{from: "kernel", to: hostile, plan: plan})
		},
	} {
		var out strings.Builder
		if err := show(streams{out: &out, err: &out}); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); strings.ContainsAny(got, "\x1b\a\u202e") || !strings.Contains(got, escaped) {
			t.Errorf("%s: printed %q", name, got)
		}
	}
}
