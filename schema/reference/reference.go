package reference

import (
	"fmt"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
)

// Markdown returns the reference of all settings.
func Markdown() ([]byte, error) {
	shape := cuecontext.New().CompileBytes(schema.CUE()).LookupPath(cue.ParsePath("#Machine"))
	if err := shape.Err(); err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	var b strings.Builder
	b.WriteString("<!-- Made by `make docs` from schema/machine.cue. -->\n\n# The machine config\n\n" +
		"Every setting with its default. [config.md](../config.md) shows how a config is written in CUE, YAML\nor JSON.\n")
	if err := section(&b, part{"", []cue.Value{shape}}, field.All()); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}

// part is a struct of the schema, or the alternatives of a disjunction.
type part struct {
	path string
	of   []cue.Value
}

// section writes the settings of a struct, and then the structs in it.
func section(b *strings.Builder, p part, fields map[string]field.Field) error {
	var inner []part
	var settings strings.Builder
	for _, v := range p.of {
		it, err := v.Fields(cue.Optional(true))
		if err != nil {
			return fmt.Errorf("read the schema at %s: %w", p.path, err)
		}
		for it.Next() {
			here, at := field.Join(p.path, it.Selector().Unquoted()), it.Value()
			if at.IncompleteKind() == cue.StructKind {
				inner = append(inner, part{here, []cue.Value{at}})
				continue
			}
			inner = append(inner, setting(&settings, here, at, fields[here])...)
		}
	}
	if settings.Len() > 0 {
		fmt.Fprintf(b, "\n## `%s`\n", p.path)
		if doc := docOf(p.of[0]); doc != "" && len(p.of) == 1 {
			fmt.Fprintf(b, "\n%s\n", doc)
		}
		b.WriteString(settings.String())
	}
	for _, one := range inner {
		if err := section(b, one, fields); err != nil {
			return err
		}
	}
	return nil
}

// setting writes a setting, and returns the structs that it may have.
func setting(b *strings.Builder, path string, v cue.Value, f field.Field) (inner []part) {
	kind, want := field.KindName(f.Kind), f.Want
	switch {
	case f.Kind == cue.ListKind:
		kind, want = "list", strings.Replace(want, "a list, each item", "of", 1)
		if item := v.LookupPath(cue.MakePath(cue.AnyIndex)); item.IncompleteKind() == cue.StructKind {
			inner = append(inner, part{field.Join(path, field.Element), []cue.Value{item}})
		}
	case f.Kind&cue.StructKind != 0:
		inner = append(inner, part{path, field.Alternatives(v)})
	}
	fmt.Fprintf(b, "\n### `%s`\n\n%s\n\n%s\n", path, docOf(v), wrap(fmt.Sprintf("- Type: %s: %s", kind, want)))
	if value, has := v.Default(); has && value.IsConcrete() {
		fmt.Fprintf(b, "- Default: `%v`\n", value)
	}
	return inner
}

// width is the length of the longest line.
const width = 100

// wrap breaks the text of a list item into lines.
func wrap(text string) string {
	var b strings.Builder
	length := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case length+1+len(word) > width:
			b.WriteString("\n  ")
			length = len("  ")
		default:
			b.WriteString(" ")
			length++
		}
		b.WriteString(word)
		length += len(word)
	}
	return b.String()
}

// docOf returns the first comment of a field.
func docOf(v cue.Value) string {
	for _, group := range v.Doc() {
		if text := strings.TrimSpace(group.Text()); text != "" {
			return text
		}
	}
	return ""
}
