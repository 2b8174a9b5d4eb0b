package patch

import (
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
)

// fields removes fields of a struct in one place of the text, and adds others.
func (c *cueEditor) fields(b *body, removed map[ast.Decl]bool, added []element) bool {
	switch {
	case !slices.ContainsFunc(b.decls, func(d ast.Decl) bool { return removed[d] }) && len(added) == 0:
		return true
	case b.in != nil:
		return c.chained(b, removed, added)
	case b.open >= 0 && c.line(b.open) == c.line(b.close):
		return c.inline(b, removed, added)
	}
	for _, d := range b.decls {
		if removed[d] && !c.cut(b, d) {
			return false
		}
	}
	return c.addLines(b, added)
}

// cut removes the lines of a field, or the field alone if something else is on them.
func (c *cueEditor) cut(b *body, d ast.Decl) bool {
	from, to := d.Pos().Offset(), d.End().Offset()
	end := c.skip(to, " \t,")
	rest := c.rest(end)
	if c.opensLine(from) && (rest == "" || strings.HasPrefix(rest, c.comment)) {
		c.splices = append(c.splices, splice{from: c.starts[c.line(from)], to: c.next(end)})
		return true
	}
	if !c.opensLine(from) && rest == "" {
		return false // the comma before would be the last
	}
	c.splices = append(c.splices, splice{from: from, to: end})
	return b.open != to
}

// addLines puts fields on lines of their own at the end of a struct or of the file.
func (c *cueEditor) addLines(b *body, added []element) bool {
	if len(added) == 0 {
		return true
	}
	at, indent := len(c.data), ""
	if b.open >= 0 {
		at, indent = b.open, c.indentOf(b.open)+"\t"
	}
	if last := len(b.decls) - 1; last >= 0 {
		from, to := b.decls[last].Pos().Offset(), b.decls[last].End().Offset()
		if b.open >= 0 && (c.line(to) == c.line(b.close) || !c.opensLine(from)) {
			return false
		}
		if at = to; b.open >= 0 {
			indent = c.indentOf(from)
		}
	}
	var lines strings.Builder
	for _, one := range added {
		lines.WriteString(indent + c.element(one, true, indent) + c.lineBreak)
	}
	c.splices = append(c.splices, c.insertion(at, lines.String()))
	return true
}

// inline changes a struct on one line.
func (c *cueEditor) inline(b *body, removed map[ast.Decl]bool, added []element) bool {
	spans := make([]span, len(b.decls))
	gone := make([]bool, len(b.decls))
	for i, d := range b.decls {
		spans[i], gone[i] = span{d.Pos().Offset(), d.End().Offset()}, removed[d]
	}
	for i := range added {
		added[i].after = len(spans) - 1
	}
	c.edit(b.open, spans, gone, added)
	return true
}

// chained changes a struct without braces, which has one field: "a: b: c: 1".
func (c *cueEditor) chained(b *body, removed map[ast.Decl]bool, added []element) bool {
	if len(b.decls) != 1 {
		return false
	}
	only := b.decls[0]
	if removed[only] {
		text := "{}"
		if len(added) > 0 {
			text = c.element(added[0], false, c.indentOf(only.Pos().Offset()))
			added = added[1:]
		}
		c.splices = append(c.splices, splice{only.Pos().Offset(), only.End().Offset(), text})
	}
	if len(added) == 0 {
		return true
	}
	from, to := b.top.Pos().Offset(), b.top.End().Offset()
	indent := c.indentOf(from)
	texts := make([]string, len(added))
	for i, one := range added {
		texts[i] = b.path + c.element(one, false, indent)
	}
	if !c.opensLine(from) || b.in.open >= 0 && c.line(to) == c.line(b.in.close) {
		c.splices = append(c.splices, splice{to, to, ", " + strings.Join(texts, ", ")})
		return true
	}
	c.splices = append(c.splices, c.insertion(to, indent+strings.Join(texts, c.lineBreak+indent)+c.lineBreak))
	return true
}
