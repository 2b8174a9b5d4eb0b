package schema

import (
	"fmt"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
)

// Markdown is the reference of all settings, made from the schema.
func Markdown() ([]byte, error) {
	shape := cuecontext.New().CompileBytes(machineCUE).LookupPath(cue.ParsePath("#Machine"))
	if err := shape.Err(); err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	var b strings.Builder
	b.WriteString("<!-- Made by `make docs` from schema/machine.cue. -->\n\n# The machine config\n\n" +
		"Every setting with its default. A config is written in CUE, YAML or JSON; [config.md](../config.md) shows how.\n")
	if err := section(&b, "", shape, fieldsOf(shape)); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}

// section writes the settings of a struct, then those of the structs in it.
func section(b *strings.Builder, path string, v cue.Value, fields map[string]field) error {
	type child struct {
		path string
		v    cue.Value
	}
	var children []child
	it, err := v.Fields(cue.Optional(true))
	if err != nil {
		return fmt.Errorf("read the schema at %s: %w", path, err)
	}
	var settings strings.Builder
	for it.Next() {
		here := join(path, it.Selector().Unquoted())
		at := it.Value()
		if at.IncompleteKind() == cue.StructKind {
			children = append(children, child{here, at})
			continue
		}
		f := fields[here]
		want := strings.TrimPrefix(f.want, "a list, each item ")
		kind := f.kind.String()
		if f.kind == cue.ListKind {
			kind = "list"
			if item := at.LookupPath(cue.MakePath(cue.AnyIndex)); item.IncompleteKind() == cue.StructKind {
				children = append(children, child{join(here, element), item})
				want = "see below"
			}
			want = "of " + want
		}
		fmt.Fprintf(&settings, "\n### `%s`\n\n%s\n\n- Type: %s: %s\n", here, docOf(at), kind, want)
		if value, has := at.Default(); has && value.IsConcrete() {
			fmt.Fprintf(&settings, "- Default: `%v`\n", value)
		}
	}
	if settings.Len() > 0 {
		fmt.Fprintf(b, "\n## `%s`\n", path)
		if doc := docOf(v); doc != "" {
			fmt.Fprintf(b, "\n%s\n", doc)
		}
		b.WriteString(settings.String())
	}
	for _, c := range children {
		if err := section(b, c.path, c.v, fields); err != nil {
			return err
		}
	}
	return nil
}

// docOf is the first comment on a field.
func docOf(v cue.Value) string {
	for _, group := range v.Doc() {
		if text := strings.TrimSpace(group.Text()); text != "" {
			return text
		}
	}
	return ""
}
