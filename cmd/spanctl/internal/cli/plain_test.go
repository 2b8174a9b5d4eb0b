package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
)

// hostile are labels that write to the terminal what their owner wants, and what is shown of
// them in text.
var hostile = map[string]string{
	"ev\x1b[31mil\a\n\u202egnp":        `ev\x1b[31mil\a\n\u202egnp`, // colours, rings, begins a line, turns the direction
	"\x1b]0;x\a\x1b[2J\nrow":           `\x1b]0;x\a\x1b[2J\nrow`,    // sets the title, clears the screen
	"one\rtwo\b\v\f\x7f\x00\ttab":      `one\rtwo\x08\x0b\x0c\x7f\x00\ttab`,
	"\u009b2J\u0085\u2028\u2029":       `\u009b2J\u0085\u2028\u2029`,       // a CSI in one rune, and line ends
	"a\u2066b\u2069\u200e\u061c\u206e": `a\u2066b\u2069\u200e\u061c\u206e`, // directions
	"\ufeffname\uffff":                 `\ufeffname\uffff`,                 // no characters of YAML
	"|\n- forged: yes\n---\n# \x1b[A":  `|\n- forged: yes\n---\n# \x1b[A`,  // YAML in YAML
	"\"},{\"id\":\"\u202e\u001b":       `"},{"id":"\u202e\x1b`,             // JSON in JSON
	"ノード 👩‍💻 نود e\u0301 \\x1b % $":    "ノード 👩‍💻 نود e\u0301 \\x1b % $",    // harmless
	"\u200c\u200dzero width joins":     "\u200c\u200dzero width joins",     // part of scripts and of emoji
	"node-1.example.com (10.0.0.1:51)": "node-1.example.com (10.0.0.1:51)", // the usual
}

func TestPlain(t *testing.T) {
	for text, want := range hostile {
		if got := plain(text); got != want {
			t.Errorf("plain(%q) is %q, want %q", text, got, want)
		}
		wantLines := strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(want)
		if got := plainLines(text); got != wantLines {
			t.Errorf("plainLines(%q) is %q, want %q", text, got, wantLines)
		}
	}
	// A terminal of eight bits takes 0x9b for CSI.
	if got, want := plain("\x9b2J\xe2\x80"), `\x9b2J\xe2\x80`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// printers print a text of another machine in all ways that are for people.
func printers(text string) map[string]func(s streams) error {
	change := &agentpb.Change{Action: "update", Kind: "peer", Id: "key", Label: text, Text: "~ peer key (" + text + ")",
		Fields: []*agentpb.Field{{Name: "endpoint", From: text, To: text}}}
	condition := &agentpb.Condition{Code: text, Severity: "warning", Subject: text, Cause: text, Remedy: text}
	plan := &agentpb.Plan{Changes: []*agentpb.Change{change}, Impact: []string{text}, Warnings: []string{text}, Conditions: []*agentpb.Condition{condition}}
	event := &agentpb.Event{Resource: &agentpb.Resource{Row: []string{text, text}}}
	return map[string]func(s streams) error{
		"table": func(s streams) error { return (&table{out: s.out}).print([]string{text, text}) },
		"resources": func(s streams) error {
			return (&printer{out: s.out, format: format{name: outputTable}, table: table{out: s.out}}).events([]*agentpb.Event{event})
		},
		"names": func(s streams) error {
			return format{name: outputName}.print(s.out, []document{{name: text}}, false)
		},
		"paths": func(s streams) error {
			path, err := parseTemplate("$.items[*].spec.label")
			return errors.Join(err, path.print(s.out, listDocument{Items: []document{{Spec: map[string]any{"label": text}}}}))
		},
		"done":       func(s streams) error { return printDone(s, plan) },
		"dry run":    func(s streams) error { return printDryRun(s, nil, plan) },
		"plan":       func(s streams) error { return printPlan(s.out, plan.GetChanges()) },
		"conditions": func(s streams) error { printConditions(s, plan.GetConditions()); return nil },
		"say":        func(s streams) error { return s.say("removed", text) },
		"unified": func(s streams) error {
			p := painter{out: s.out}
			return p.plan(comparison{from: "kernel", to: text, plan: plan})
		},
	}
}

// TestLabelsDoNotControlTheTerminal prints hostile labels. Nothing of them is left to a
// terminal, and none begins a line.
func TestLabelsDoNotControlTheTerminal(t *testing.T) {
	lines := map[string]int{} // of each printer with a harmless label
	for name, show := range printers("node-1") {
		lines[name] = strings.Count(printed(t, show), "\n")
	}
	for text, want := range hostile {
		for name, show := range printers(text) {
			got := printed(t, show)
			if strings.ContainsFunc(got, func(r rune) bool { return r != '\n' && terminal.IsUnsafe(r) }) || !strings.Contains(got, want) {
				t.Errorf("%s: printed %q", name, got)
			}
			if n := strings.Count(got, "\n"); n != lines[name] {
				t.Errorf("%s: %q made %d lines of %d", name, text, n, lines[name])
			}
		}
	}
}

func printed(t *testing.T, show func(s streams) error) string {
	t.Helper()
	var out strings.Builder
	if err := show(streams{out: &out, err: &out}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestDocumentsKeepTheText prints hostile labels as JSON and YAML: whoever reads these has the
// label as it is, and a terminal nothing of it.
func TestDocumentsKeepTheText(t *testing.T) {
	for text := range hostile {
		spec, err := structpb.NewStruct(map[string]any{"label": text, text: []any{text, "x"}})
		if err != nil {
			t.Fatal(err)
		}
		event := &agentpb.Event{Resource: &agentpb.Resource{Metadata: &agentpb.Metadata{Id: text}, Spec: spec}}
		for output, decode := range map[string]func([]byte, any) error{outputJSON: json.Unmarshal, outputYAML: yaml.Unmarshal} {
			got := printed(t, func(s streams) error {
				return (&printer{out: s.out, format: format{name: output}}).list([]*agentpb.Resource{event.GetResource()}, true)
			})
			if strings.ContainsFunc(got, terminal.IsUnsafeInLines) {
				t.Errorf("%s: printed %q", output, got)
			}
			var read struct {
				Metadata struct{ ID string }
				Spec     map[string]any
			}
			if err := decode([]byte(got), &read); err != nil {
				t.Errorf("%s of %q: %v:\n%s", output, text, err, got)
			}
			if list, _ := read.Spec[text].([]any); read.Metadata.ID != text || read.Spec["label"] != text || !slices.Contains(list, any(text)) {
				t.Errorf("%s of %q reads as %+v:\n%s", output, text, read, got)
			}
		}
	}
}

// TestErrorsAndLogsAreEscaped has hostile text in what goes to standard error.
func TestErrorsAndLogsAreEscaped(t *testing.T) {
	for text := range hostile {
		var out strings.Builder
		err := &plainWriter{out: &out, plain: plainLines}
		status(Root(), fmt.Errorf("reach %s: %w", text, errors.New(text)), err)
		(streams{err: err}).note("node:", text, "\xff\x9b")
		for _, format := range []string{"text", "json"} {
			log, logErr := (&globals{logLevel: "info", logFormat: format}).logger(err)
			if logErr != nil {
				t.Fatal(logErr)
			}
			from := out.Len()
			log.Info("peer up", "peer", text)
			line := out.String()[from:]
			if strings.Count(line, "\n") != 1 {
				t.Errorf("the log has %q", line)
			}
			var read struct{ Peer string }
			if format != "json" {
				continue
			}
			if err := json.Unmarshal([]byte(line), &read); err != nil || read.Peer != text {
				t.Errorf("the log has %q: %v", line, err)
			}
		}
		if got := out.String(); strings.ContainsFunc(got, terminal.IsUnsafeInLines) || !utf8.ValidString(got) {
			t.Errorf("printed %q", got)
		}
	}
}

// TestMainEscapes runs whole commands whose arguments are hostile.
func TestMainEscapes(t *testing.T) {
	for _, args := range [][]string{
		{"validate", "-f", "no\x1b[31mfile\u202e.yaml"},
		{"get", "members", "--log-level", "\x1b[31m"},
		{"no\x1bcommand"},
		{"diff", "--\x9bflag"},
	} {
		var stdout, stderr strings.Builder
		if Main(args, strings.NewReader(""), &stdout, &stderr) == exitOK {
			t.Errorf("%q succeeded", args)
		}
		if got := stdout.String() + stderr.String(); strings.ContainsFunc(got, terminal.IsUnsafeInLines) || strings.Contains(got, "\x9b") {
			t.Errorf("%q: printed %q", args, got)
		}
	}
	if behind(&plainWriter{out: io.Discard}) != io.Discard {
		t.Error("an editor does not have the terminal itself")
	}
}
