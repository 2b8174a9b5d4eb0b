package files

import (
	"fmt"
	"strings"
	"testing"

	"cuelang.org/go/cue/cuecontext"

	"github.com/spanmesh/span/schema"
)

// TestAliases parses YAML whose mappings merge or contain others, or themselves.
func TestAliases(t *testing.T) {
	var wide strings.Builder
	wide.WriteString("a0: &a0 {x: 1}\n")
	for i := range 40 {
		fmt.Fprintf(&wide, "a%d: &a%d {<<: [*a%d, *a%d]}\n", i+1, i+1, i, i)
	}
	for _, c := range []struct{ name, text, want string }{
		{"a mapping that merges another", "a: &a {x: 1}\nb: {<<: *a, y: 2}\n", ""},
		{"a list of them", "a: &a {x: 1}\nb: &b {y: 1}\nc: {<<: [*a, *b]}\n", ""},
		{"one in another", "a: &a\n  b: &b {x: 1}\n  c: {<<: *b}\nd: {<<: *a}\n", ""},
		{"a mapping that merges itself", "a: &a\n  x: 1\n  <<: *a\n", "m.yaml:3:"},
		{"two that merge each other", "a: &a\n  b: &b\n    <<: *a\n  <<: *b\n", "contains itself"},
		{"a mapping inside that merges the one around", "a: &a\n  b:\n    <<: *a\n", "m.yaml:3:"},
		{"a mapping that contains itself", "a: &a\n  b: *a\n", "contains itself"},
		{"in a list", "a: &a\n  <<: [*a]\n", "contains itself"},
		{"in a second document", "x: 1\n---\na: &a\n  <<: *a\n", "contains itself"},
		{"a doubling at each step", wide.String(), "the aliases stand for more than 50000 nodes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			one := schema.Source{Name: "m.yaml", Data: []byte(c.text)}
			set := New(one)
			_, err := set.Parse(cuecontext.New(), one)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("there is no error")
			}
			if text := set.Syntax(one, err).Error(); !strings.Contains(text, c.want) {
				t.Errorf("got %s, want %s", text, c.want)
			}
		})
	}
}
