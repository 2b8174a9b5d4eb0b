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
	if err := section(&b, part{"", []cue.Value{shape}}, fields()); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}

// part is a struct of the schema, or the alternatives for one.
type part struct {
	path string
	of   []cue.Value
}

// section writes the settings of a struct, then those of the structs in it.
func section(b *strings.Builder, p part, fields map[string]field) error {
	var inner []part
	var settings strings.Builder
	for _, v := range p.of {
		it, err := v.Fields(cue.Optional(true))
		if err != nil {
			return fmt.Errorf("read the schema at %s: %w", p.path, err)
		}
		for it.Next() {
			here, at := join(p.path, it.Selector().Unquoted()), it.Value()
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

// setting writes one, and returns the structs that it may be or hold.
func setting(b *strings.Builder, path string, v cue.Value, f field) (inner []part) {
	kind, want := kindName(f.kind), f.want
	switch {
	case f.kind == cue.ListKind:
		kind, want = "list", strings.Replace(want, "a list, each item", "of", 1)
		if item := v.LookupPath(cue.MakePath(cue.AnyIndex)); item.IncompleteKind() == cue.StructKind {
			inner = append(inner, part{join(path, element), []cue.Value{item}})
		}
	case f.kind&cue.StructKind != 0:
		inner = append(inner, part{path, alternatives(v)})
	}
	fmt.Fprintf(b, "\n### `%s`\n\n%s\n\n- Type: %s: %s\n", path, docOf(v), kind, want)
	if value, has := v.Default(); has && value.IsConcrete() {
		fmt.Fprintf(b, "- Default: `%v`\n", value)
	}
	return inner
}

// alternatives are the structs among the parts of a disjunction.
func alternatives(v cue.Value) (structs []cue.Value) {
	v = cue.Dereference(v)
	op, parts := v.Expr()
	if op != cue.OrOp {
		if v.IncompleteKind() == cue.StructKind {
			structs = append(structs, v)
		}
		return structs
	}
	for _, part := range parts {
		structs = append(structs, alternatives(part)...)
	}
	return structs
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
