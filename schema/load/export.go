package load

import (
	"bytes"
	"fmt"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"
)

// madeFrom begins the first line of a config that was made from several files.
const madeFrom = "// Made from "

// MadeFrom returns what a stored config was made from, such as a package of a fleet. One that was
// written by itself was made from nothing.
func MadeFrom(config []byte) (files string, made bool) {
	first, _, _ := bytes.Cut(config, []byte("\n"))
	rest, made := strings.CutPrefix(string(first), madeFrom)
	if !made {
		return "", false
	}
	return strings.TrimSuffix(rest, editThat), true
}

// editThat ends that line.
const editThat = ": edit that instead."

// exportedName is the name of a config that was made from several files.
const exportedName = "machine.cue"

// export returns the config as one CUE file, without settings that have their defaults.
func (l *loader) export(in Input) ([]byte, error) {
	text, err := format.Node(&ast.File{Decls: differing(l.shape, l.user)}, format.Simplify())
	if err != nil {
		return nil, fmt.Errorf("write the config as one file: %w", err)
	}
	made := make([]string, len(in.Sources))
	for i, one := range in.Sources {
		made[i] = one.Name
	}
	if in.Expression != "" {
		made = append(made, in.Expression)
	}
	for _, tag := range in.Tags {
		name, _, _ := strings.Cut(tag, "=") // the value may be secret
		made = append(made, "-t "+name)
	}
	from := strings.Join(made, ", ")
	header := madeFrom + strings.ReplaceAll(from, "\n", " ") + editThat + "\n"
	data := append([]byte(header), text...)
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(data, '\n')
	}
	return data, nil
}

// differing returns the fields of v that differ from their defaults, in the order of the schema.
func differing(shape, v cue.Value) []ast.Decl {
	var fields []ast.Decl
	it, err := shape.Fields(cue.Optional(true))
	if err != nil {
		return nil
	}
	for it.Next() {
		name := it.Selector().Unquoted()
		its := v.LookupPath(cue.MakePath(cue.Str(name)))
		if !its.Exists() {
			continue
		}
		its, _ = its.Default()
		if it.Value().IncompleteKind() == cue.StructKind {
			if inner := differing(it.Value(), its); len(inner) > 0 {
				fields = append(fields, &ast.Field{Label: ast.NewIdent(name), Value: &ast.StructLit{Elts: inner}})
			}
			continue
		}
		fallback, has := it.Value().Default()
		if has && fallback.IsConcrete() && its.Equals(fallback) || !its.IsConcrete() {
			continue
		}
		if expr, ok := its.Syntax(cue.Final(), cue.Attributes(false)).(ast.Expr); ok {
			fields = append(fields, &ast.Field{Label: ast.NewIdent(name), Value: expr})
		}
	}
	return fields
}
