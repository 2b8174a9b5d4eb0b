package load

import (
	"fmt"
	"strings"

	"cuelang.org/go/cue"
	cueerrors "cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/parser"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
	"github.com/spanmesh/span/schema/internal/files"
)

// pick evaluates an expression in the scope of the sources.
func (l *loader) pick(ctx *cue.Context, expression string) (cue.Value, error) {
	name := "-e " + expression
	expr, err := parser.ParseExpr(name, expression)
	if err != nil {
		return cue.Value{}, schema.Problems{{File: name, Reason: l.message(name, cueerrors.Promote(err, "")), Want: `CUE, such as "machines.web1"`}}
	}
	if fields, err := l.user.Fields(); l.user.IncompleteKind() == cue.BottomKind && (err != nil || !fields.Next()) {
		// Nothing can be found in files that do not compile.
		return cue.Value{}, l.files.Syntax(schema.Source{Name: l.name}, l.user.Err())
	}
	if path := cue.ParsePath(expression); path.Err() == nil {
		return l.lookUp(name, path)
	}
	v := ctx.BuildExpr(expr, cue.Scope(l.user), cue.InferBuiltins(true))
	if fields, err := v.Fields(); v.Err() != nil && (err != nil || !fields.Next()) {
		p := schema.Problem{File: name, Reason: l.message(name, cueerrors.Promote(v.Err(), "")), Want: "an expression for a machine config in " + l.name}
		switch {
		case strings.HasPrefix(p.Reason, `reference "_`):
			p.Want = `a field whose name does not begin with "_": such a field is its package's own`
		case strings.Contains(expression, "-"):
			p.Want += `; a name with a "-" is in quotes, as in machines."db-1"`
		}
		return v, schema.Problems{p}
	}
	return v, nil
}

// lookUp returns the value at a path in the sources. Faults beside the path do not matter.
func (l *loader) lookUp(name string, path cue.Path) (cue.Value, error) {
	v := l.user
	for _, selector := range path.Selectors() {
		inner := v.LookupPath(cue.MakePath(selector))
		if !inner.Exists() {
			return inner, schema.Problems{l.notThere(name, v, selector)}
		}
		l.prefix = append(l.prefix, unquoted(selector))
		v = inner
	}
	if op, parts := v.Eval().Expr(); op == cue.OrOp && len(parts) > 1 && v.IncompleteKind() == cue.StructKind {
		if one, has := v.Default(); !has || one.Kind() != cue.StructKind {
			p := schema.Problem{File: name, Reason: fmt.Sprintf("is any of %d configs", len(parts)), Want: `one of them, marked with "*" in the files, or another expression`}
			l.files.At(&p, v.Pos())
			return v, schema.Problems{p}
		}
	}
	return v, nil
}

// notThere returns the problem of a field that a value does not have.
func (l *loader) notThere(name string, in cue.Value, missing cue.Selector) schema.Problem {
	p := schema.Problem{File: name, Reason: "there is no such field", Want: "a machine config in " + l.name}
	if missing.LabelType() != cue.StringLabel {
		return p
	}
	if one, found := l.holding(in, missing); found {
		p.Want = "its whole path: `-e '" + one + "'`"
		return p
	}
	var names []string
	for it, err := in.Fields(); err == nil && it.Next(); {
		if one := it.Selector().Unquoted(); files.ShowsName(nil, one) {
			names = append(names, one)
		}
	}
	if near := field.Nearest(missing.Unquoted(), names); near != "" {
		p.Reason += fmt.Sprintf(", did you mean %q?", near)
	}
	return p
}

// holding returns the expression for a name in a field that has machine configs by their names.
func (l *loader) holding(in cue.Value, missing cue.Selector) (expression string, found bool) {
	for it, err := in.Fields(); err == nil && it.Next(); {
		if _, holds := holder(it.Value()); holds && it.Value().LookupPath(cue.MakePath(missing)).Exists() {
			return l.expression([]string{it.Selector().Unquoted(), missing.Unquoted()}), true
		}
	}
	return "", false
}

// unquoted returns a selector as the paths of CUE's errors have it.
func unquoted(selector cue.Selector) string {
	if selector.LabelType() == cue.StringLabel {
		return selector.Unquoted()
	}
	return selector.String()
}
