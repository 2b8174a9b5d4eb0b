package load

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cuelang.org/go/cue"

	"github.com/spanmesh/span/schema/internal/field"
)

// jargon has words of CUE that are no words for people.
var jargon = regexp.MustCompile(`conflicting values|disjunction|incomplete value|non-concrete|#Machine|#[A-Z]|cannot unify|cannot use value|_\|_|out of bound`)

// wrongs are values of every kind, in JSON.
var wrongs = []string{`true`, `null`, `-7`, `1.5`, `99999999999`, `""`, `"x y\u00e9"`, `["x"]`, `[[]]`, `{}`, `{"file": "/a", "env": "A"}`, `{"nothing": 1}`}

// TestEveryFieldInWords gives each field of the schema values of every kind, in each format, alone and
// beside another value. What is refused has a place in the file, is not in CUE's words, and has
// what would be right.
func TestEveryFieldInWords(t *testing.T) {
	refused := 0
	dir := t.TempDir()
	const imported = "import schema \"github.com/spanmesh/span/machine\"\n\nschema.#Machine & "
	for path := range field.All() {
		if path == "" {
			continue
		}
		t.Run(path, func(t *testing.T) {
			for i, wrong := range wrongs {
				text := `{"machine":{"network":{"kubespan":{"enabled":false}}}}`
				at, fits := nested(path, wrong), nested(path, fitting(path))
				files := map[string]string{
					"a.cue":  at + "\n" + text + "\n",
					"a.yaml": at + "\n---\n" + text + "\n",
					"a.json": at + "\n",
					// Beside a value that fits.
					"b.cue":  at + "\n" + text + "\n" + fits + "\n",
					"b.yaml": fits + "\n---\n" + at + "\n---\n" + text + "\n",
				}
				if i%2 == 0 { // packages take as long as ten files
					files["c.cue"] = imported + text + " & " + at + "\n"
					files["d.cue"] = imported + at + " & " + fits + "\n"
				}
				for name, data := range files {
					_, err := Config(filepath.Join(dir, name), []byte(data))
					if err == nil {
						continue
					}
					refused++
					for line := range strings.SplitSeq(strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""), "\n") {
						if !regexp.MustCompile(`^[a-d]\.(cue|yaml|json):\d+:\d+: `).MatchString(line) {
							t.Errorf("%s: no place in %q", data, line)
						}
						if words := jargon.FindString(line); words != "" {
							t.Errorf("%s: %q in %q", data, words, line)
						}
						if !strings.Contains(line, "want ") && !strings.Contains(line, "did you mean") && !strings.Contains(line, "unknown field") {
							t.Errorf("%s: no remedy in %q", data, line)
						}
					}
				}
			}
		})
	}
	if refused < 1000 {
		t.Errorf("only %d values were refused", refused)
	}
}

// nested returns JSON with a value at a path of the schema.
func nested(path, value string) string {
	names := strings.Split(path, ".")
	for i := len(names) - 1; i >= 0; i-- {
		if names[i] == field.Element {
			value = "[" + value + "]"
		} else {
			value = fmt.Sprintf("{%q: %s}", names[i], value)
		}
	}
	return value
}

// fitting returns a value that fits the kind of a field, in JSON.
func fitting(path string) string {
	kind := field.All()[path].Kind
	for _, one := range []struct {
		kind  cue.Kind
		value any
	}{{cue.BoolKind, false}, {cue.IntKind, 1300}, {cue.ListKind, []string{}}, {cue.StructKind, struct{}{}}, {cue.StringKind, "10.0.0.0/8"}} {
		if kind&one.kind != 0 {
			text, err := json.Marshal(one.value)
			if err == nil {
				return string(text)
			}
		}
	}
	return "null"
}
