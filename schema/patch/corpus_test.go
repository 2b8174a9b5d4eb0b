package patch

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// leaf is a place in the settings of a config.
type leaf struct {
	pointer string // as in a JSON patch
	value   any
	inList  bool
}

// leaves returns all places in settings, also those of structs and lists.
func leaves(prefix string, value any, inList bool) (all []leaf) {
	if prefix != "" {
		all = append(all, leaf{prefix, value, inList})
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			all = append(all, leaves(prefix+"/"+name, value[name], false)...)
		}
	case []any:
		for i, item := range value {
			all = append(all, leaves(fmt.Sprintf("%s/%d", prefix, i), item, true)...)
		}
	}
	return all
}

// corpus returns the texts in testdata/corpus, with their settings.
func corpus(t *testing.T) (sources []schema.Source, settings []any) {
	t.Helper()
	paths, err := filepath.Glob("testdata/corpus/*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		one := schema.Source{Name: filepath.Base(path), Data: data}
		values, err := load.Data(one)
		if err != nil {
			t.Fatal(err)
		}
		sources, settings = append(sources, one), append(settings, values)
	}
	return sources, settings
}

// operate applies one operation of a JSON patch. The result has the settings that the operation
// makes of those of the config, or Apply would have written it anew.
func operate(t *testing.T, base schema.Source, op, pointer string, value any) Result {
	t.Helper()
	text, err := json.Marshal([]any{map[string]any{"op": op, "path": pointer, "value": value}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Apply(base, schema.Source{Name: "patch.json", Data: text})
	if err != nil {
		t.Fatalf("%s %s: %v", op, pointer, err)
	}
	return got
}

// lineDiff returns the lines that are in one text alone, by their longest common subsequence.
func lineDiff(a, b []byte) (removed, added []string) {
	before, after := strings.SplitAfter(string(a), "\n"), strings.SplitAfter(string(b), "\n")
	toAny := func(lines []string) (list []any) {
		for _, line := range lines {
			list = append(list, line)
		}
		return list
	}
	for _, p := range align(toAny(before), toAny(after)) {
		switch {
		case p.after < 0:
			removed = append(removed, before[p.before])
		case p.before < 0:
			added = append(added, after[p.after])
		}
	}
	return removed, added
}

// isComment reports whether a line has a comment alone, or nothing.
func isComment(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "//")
}

// isLostComment reports whether a line that is gone has a comment alone.
func isLostComment(line string) bool { return isComment(line) && strings.TrimSpace(line) != "" }

// TestTheSameValueChangesNothing sets each value of the corpus to what it is.
func TestTheSameValueChangesNothing(t *testing.T) {
	sources, settings := corpus(t)
	for i, base := range sources {
		for _, one := range leaves("", settings[i], false) {
			if got := operate(t, base, "replace", one.pointer, one.value); string(got.Data) != string(base.Data) {
				t.Errorf("%s: the same value at %s changes it to\n%s", base.Name, one.pointer, got.Data)
			}
		}
	}
}

// TestOneChangeTouchesItsOwnLines changes, removes and adds a value at each place of the corpus.
// Each result has the settings that it should, and all lines but those of the change.
func TestOneChangeTouchesItsOwnLines(t *testing.T) {
	sources, settings := corpus(t)
	for i, base := range sources {
		check := func(what string, one leaf, got Result, maxRemoved int) {
			t.Helper()
			if got.Rewritten {
				t.Errorf("%s: %s %s: the text is generated again:\n%s", base.Name, what, one.pointer, got.Data)
				return
			}
			removed, added := lineDiff(base.Data, got.Data)
			var code []string
			for _, line := range removed {
				if !isComment(line) && !strings.HasPrefix(line, "import ") {
					code = append(code, line)
				}
			}
			if maxRemoved >= 0 && (len(code) > maxRemoved || slices.ContainsFunc(removed, isLostComment)) {
				t.Errorf("%s: %s %s takes %q, and adds %q", base.Name, what, one.pointer, removed, added)
			}
			for _, line := range added {
				if strings.Contains(string(base.Data), "\r\n") != strings.HasSuffix(line, "\r\n") && line != "" {
					t.Errorf("%s: %s %s: the line %q ends otherwise than the others", base.Name, what, one.pointer, line)
				}
			}
		}
		for _, one := range leaves("", settings[i], false) {
			_, isStruct := one.value.(map[string]any)
			_, isList := one.value.([]any)
			text, isText := one.value.(string)
			lines := 1
			switch {
			case isStruct || isList, isText && strings.ContainsAny(text, " \n"):
				lines = -1 // they may have many
			}
			check("replacing", one, operate(t, base, "replace", one.pointer, "other: # text"), lines)
			check("replacing by a list", one, operate(t, base, "replace", one.pointer, []any{"a", map[string]any{"b": 1}}), lines)
			check("replacing by a struct", one, operate(t, base, "replace", one.pointer, map[string]any{"a": map[string]any{"b": []any{1, "2"}}, "c": ""}), lines)
			check("emptying", one, operate(t, base, "replace", one.pointer, map[string]any{}), lines)
			if removal := operate(t, base, "remove", one.pointer, nil); base.Name == "documents.yaml" {
				check("removing", one, removal, -1) // perhaps all of a document
			} else {
				check("removing", one, removal, 3*lines) // perhaps of a struct that is empty then
			}
			if isStruct {
				check("adding to", one, operate(t, base, "add", one.pointer+"/added", []any{"x", false}), 1)
				check("adding a struct to", one, operate(t, base, "add", one.pointer+"/added", map[string]any{"a": map[string]any{"b": 1}}), 1)
			}
			if isList {
				check("appending to", one, operate(t, base, "add", one.pointer+"/-", "z"), 1)
				check("putting before", one, operate(t, base, "add", one.pointer+"/0", map[string]any{"name": "n", "x": []any{1}}), 1)
			}
		}
		check("adding at the end of", leaf{}, operate(t, base, "add", "/added", map[string]any{"a": []any{map[string]any{"b": 1, "c": 2}}}), 1)
	}
}
