package files

import (
	"testing"

	"github.com/spanmesh/span/schema"
)

// TestExcerpt shows lines of files, with the caret's place marked by "^" in the line.
func TestExcerpt(t *testing.T) {
	for _, c := range []struct {
		name, file, text string
		line, column     int
		want             string
		caret            int
	}{
		{"a setting", "a.cue", "machine: network: kubespan: mtu: 900", 1, 29, "machine: network: kubespan: mtu: 900", 28},
		{"a secret before the place", "a.cue", `cluster: {secret: "abc", id: 1}`, 1, 26, `cluster: {secret: "(hidden)", id: 1}`, 30},
		{"at the secret", "a.cue", `cluster: secret: "abc"`, 1, 18, `cluster: secret: "(hidden)"`, 17},
		{"a misspelt secret", "a.cue", `cluster: secrt: "abc"`, 1, 10, `cluster: secrt: "(hidden)"`, 9},
		{"a field of nobody", "a.cue", `cluster: color: "blue"`, 1, 10, `cluster: color: "(hidden)"`, 9},
		{"a comment", "a.cue", "cluster: id: 1 // abc", 1, 10, "cluster: id: 1", 9},
		{"a part of a fleet", "a.cue", `machines: a: machine: network: kubespan: interfaceName: "x y"`, 1, 57, `machines: a: machine: network: kubespan: interfaceName: "x y"`, 56},
		{"a hidden field", "a.cue", `_c: {discovery: enabled: "x", secret: "abc"}`, 1, 6, `_c: {discovery: enabled: "x", secret: "(hidden)"}`, 5},
		{"a syntax error", "a.cue", `cluster: secret "abc"`, 1, 17, `cluster: secret "(hidden)"`, 16},
		{"flow in YAML", "a.yaml", "cluster: {secret: a b, id: 'x, y'}", 1, 24, "cluster: {secret: (hidden), id: 'x, y'}", 28},
		{"a block in YAML", "a.yaml", "cluster:\n  secret: |\n    abc\n  id: 1", 3, 5, "    (hidden)", 4},
		{"a comment in YAML", "a.yaml", "cluster: {id: 1} # abc", 1, 11, "cluster: {id: 1}", 10},
		{"a tab in YAML", "a.yaml", "cluster:\n\tsecret: abc", 2, 2, "\tsecret: (hidden)", 1},
		{"JSON", "a.json", `{"cluster": {"id": 1, "secret": "abc"}}`, 1, 14, `{"cluster": {"id": 1, "secret": "(hidden)"}}`, 13},
		{"a line that a terminal cannot print", "a.cue", "cluster: id: \"\x1b[2J\"", 1, 10, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := New(schema.Source{Name: c.file, Data: []byte(c.text)})
			p := schema.Problem{File: c.file, Line: c.line, Column: c.column}
			set.quote(&p, c.file)
			if p.Text != c.want || p.Caret != c.caret {
				t.Errorf("got %q with the caret at %d, want %q at %d", p.Text, p.Caret, c.want, c.caret)
			}
		})
	}
}

// TestMessages hides what parsers quote.
func TestMessages(t *testing.T) {
	for message, want := range map[string]string{
		"unknown anchor 'abc' referenced":           "unknown anchor '(hidden)' referenced",
		"expected ',', found 'x'":                   "expected '(hidden)'",
		"found character '%' that cannot start":     "found character '%' that cannot start",
		"did not find expected key":                 "did not find expected key",
		"cannot decode \"abc\" as !!int":            "cannot decode \"(hidden)\" as !!int",
		"it's not closed":                           "it's not closed",
		"mapping key \"secret\" is already defined": "mapping key \"secret\" is already defined",
	} {
		if got := withoutQuotes(message); got != want {
			t.Errorf("%s: got %q, want %q", message, got, want)
		}
	}
}
