package patch

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/encode"
	"github.com/spanmesh/span/schema/internal/field"
)

// cueEditor edits a text of CUE.
type cueEditor struct {
	*brackets
	// failed is set if a value could not be written.
	failed bool
}

// rewriteCUE returns a text of CUE whose settings are changed from before to after. What is not
// changed is left; a text that is formatted as by `cue fmt` stays so.
func rewriteCUE(base schema.Source, before, after any) ([]byte, bool) {
	from, ok := before.(map[string]any)
	to, okay := after.(map[string]any)
	file, err := parser.ParseFile(base.Name, base.Data, parser.ParseComments)
	if !ok || !okay || err != nil {
		return nil, false
	}
	c := &cueEditor{brackets: &brackets{text: newText(base.Data), comment: "//"}}
	c.render = c.element
	if !c.structs(c.embedded(&body{decls: file.Decls, open: -1, close: -1}), from, to) || c.failed {
		return nil, false
	}
	out, ok := spliced(base.Data, c.splices)
	out = withoutUnused(out)
	if formatted, err := format.Source(base.Data); err == nil && bytes.Equal(formatted, base.Data) {
		if formatted, err = format.Source(out); err == nil {
			out = formatted
		}
	}
	return out, ok
}

// body is a place in the text where fields of a struct are.
type body struct {
	decls []ast.Decl
	// open and close are the places of the braces; -1 if there are none.
	open, close int
	// in, top and path are set for a struct without braces, as those of "a: b: c: 1" are: the
	// body with the whole line, the line, and the names before the struct.
	in   *body
	top  ast.Decl
	path string
}

// embedded returns a body, after those of the structs that are embedded in it.
func (c *cueEditor) embedded(b *body) (all []*body) {
	for _, d := range b.decls {
		if e, ok := d.(*ast.EmbedDecl); ok {
			for _, inner := range c.literals(e.Expr, nil, nil, "") {
				all = append(all, c.embedded(inner)...)
			}
		}
	}
	return append(all, b)
}

// literals returns the structs that are written in an expression such as machine.#Machine & {...}.
func (c *cueEditor) literals(x ast.Expr, in *body, top ast.Decl, path string) []*body {
	switch x := x.(type) {
	case *ast.BinaryExpr:
		if x.Op == token.AND {
			return append(c.literals(x.X, nil, nil, ""), c.literals(x.Y, nil, nil, "")...)
		}
	case *ast.StructLit:
		switch braces := x.Lbrace.IsValid() && x.Rbrace.IsValid(); {
		case braces:
			return []*body{{decls: x.Elts, open: x.Lbrace.Offset(), close: x.Rbrace.Offset()}}
		case in != nil:
			return []*body{{decls: x.Elts, open: -1, close: -1, in: in, top: top, path: path}}
		}
	}
	return nil
}

// place is a field in the text.
type place struct {
	in    *body
	field *ast.Field
}

// inside returns the structs that are written as the value of a field.
func (c *cueEditor) inside(p place) (all []*body) {
	in, top, path := p.in, ast.Decl(p.field), ""
	if p.in.in != nil {
		in, top, path = p.in.in, p.in.top, p.in.path
	}
	label := p.field.Label
	path += string(c.data[label.Pos().Offset():label.End().Offset()]) + ": "
	for _, one := range c.literals(p.field.Value, in, top, path) {
		all = append(all, c.embedded(one)...)
	}
	return all
}

// lookup returns the fields with a name.
func lookup(bodies []*body, name string) (places []place) {
	for _, b := range bodies {
		for label, f := range field.Fields(b.decls) {
			if label == name && f.Constraint == token.ILLEGAL {
				places = append(places, place{b, f})
			}
		}
	}
	return places
}

// structs changes the fields of a struct, which may be written in several places.
func (c *cueEditor) structs(bodies []*body, before, after map[string]any) bool {
	removed := map[ast.Decl]bool{}
	var added []element
	names := maps.Clone(before)
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, had := before[name]
		value, has := after[name]
		places := lookup(bodies, name)
		switch {
		case had && has && reflect.DeepEqual(was, value):
		case has && len(places) == 0:
			added = append(added, element{name: name, named: true, value: difference(was, value)})
		case has:
			if !c.change(c.dropVanishing(places, value, removed), was, value) {
				return false
			}
		default:
			for _, p := range places {
				removed[p.field] = true
			}
		}
	}
	return c.inBodies(bodies, removed, added)
}

// inBodies removes fields wherever they are, and adds others to one of the places of a struct: the
// first with braces.
func (c *cueEditor) inBodies(bodies []*body, removed map[ast.Decl]bool, added []element) bool {
	target := slices.IndexFunc(bodies, func(b *body) bool { return b.open >= 0 })
	for i, b := range bodies {
		var additions []element
		if i == max(target, 0) {
			additions = added
		}
		if !c.fields(b, removed, additions) {
			return false
		}
	}
	return true
}

// dropVanishing marks the fields as removed of which nothing is left, as long as the field is
// written elsewhere too. It returns the others.
func (c *cueEditor) dropVanishing(places []place, value any, removed map[ast.Decl]bool) (left []place) {
	for i, p := range places {
		if c.vanishes(p, value) && (len(left) > 0 || i < len(places)-1) {
			removed[p.field] = true
			continue
		}
		left = append(left, p)
	}
	return left
}

// difference returns what has to be written of a value that stands elsewhere, such as the defaults of
// a schema: of a struct the fields that differ.
func difference(was, value any) any {
	from, ok := was.(map[string]any)
	to, okay := value.(map[string]any)
	if !ok || !okay {
		return value
	}
	out := map[string]any{}
	for name, its := range to {
		if before, had := from[name]; !had || !reflect.DeepEqual(before, its) {
			out[name] = difference(before, its)
		}
	}
	return out
}

// vanishes reports whether a struct in the text has none of the fields that a value has.
func (c *cueEditor) vanishes(p place, value any) bool {
	fields, ok := value.(map[string]any)
	bodies := c.inside(p)
	if !ok || len(bodies) == 0 {
		return false
	}
	for _, b := range bodies {
		for _, d := range b.decls {
			f, ok := d.(*ast.Field)
			if !ok {
				return false
			}
			label, _, err := ast.LabelName(f.Label)
			if its, has := fields[label]; err != nil || has && !c.vanishes(place{b, f}, its) {
				return false
			}
		}
	}
	return true
}

// change changes the value of a field, deep inside if that is possible.
func (c *cueEditor) change(places []place, was, value any) bool {
	from, to := fieldsOf(was), fieldsOf(value)
	var bodies []*body
	for _, p := range places {
		bodies = append(bodies, c.inside(p)...)
	}
	if len(bodies) > 0 && from != nil && to != nil && (len(to) > 0 || slices.ContainsFunc(bodies, c.hasComments)) {
		return c.structs(bodies, from, to)
	}
	items, list := itemsOf(was), itemsOf(value)
	if len(items) > 0 && len(list) > 0 && len(places) == 1 {
		if literal, ok := places[0].field.Value.(*ast.ListLit); ok && len(literal.Elts) == len(items) && isPlain(literal) {
			return c.list(literal, items, list)
		}
	}
	for _, p := range places {
		v := p.field.Value
		at := v.Pos().Offset()
		c.splices = append(c.splices, splice{at, v.End().Offset(), c.value(value, c.indentOf(at))})
	}
	return true
}

// hasComments reports whether a struct has comments on lines of their own, which stay.
func (c *cueEditor) hasComments(b *body) bool {
	if b.open < 0 || b.close < b.open {
		return false
	}
	for line := range bytes.Lines(c.data[b.open:b.close]) {
		if strings.HasPrefix(strings.TrimSpace(string(line)), c.comment) {
			return true
		}
	}
	return false
}

// isPlain reports whether each element of a list is one in the text.
func isPlain(list *ast.ListLit) bool {
	return !slices.ContainsFunc(list.Elts, func(x ast.Expr) bool {
		switch x.(type) {
		case *ast.Ellipsis, *ast.Comprehension:
			return true
		default:
			return false
		}
	})
}

// list changes the elements of a list.
func (c *cueEditor) list(literal *ast.ListLit, before, after []any) bool {
	spans := make([]span, len(literal.Elts))
	for i, x := range literal.Elts {
		spans[i] = span{x.Pos().Offset(), x.End().Offset()}
	}
	return c.elements(literal.Lbrack.Offset(), spans, before, after, func(i int, from, to map[string]any) bool {
		bodies := c.literals(literal.Elts[i], nil, nil, "")
		return len(bodies) > 0 && c.structs(bodies, from, to)
	})
}

// value returns a value as CUE. Its lines but the first begin with indent.
func (c *cueEditor) value(value any, indent string) string {
	expr, err := encode.Expr(value)
	if err != nil {
		c.failed = true
		return ""
	}
	return c.formatted(expr, indent)
}

// element returns an element of a list, or a field.
func (c *cueEditor) element(one element, _ bool, indent string) string {
	if !one.named {
		return c.value(one.value, indent)
	}
	expr, err := encode.Expr(one.value)
	if err != nil {
		c.failed = true
		return ""
	}
	return c.formatted(&ast.File{Decls: []ast.Decl{&ast.Field{Label: ast.NewStringLabel(one.name), Value: expr}}}, indent)
}

func (c *cueEditor) formatted(n ast.Node, indent string) string {
	out, err := format.Node(n, format.Simplify())
	c.failed = c.failed || err != nil
	return strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", c.lineBreak+indent)
}
