package load

import (
	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	cueerrors "cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/parser"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
)

// read sets the value that the user wrote from all sources.
func (l *loader) read(ctx *cue.Context, in Input) error {
	l.user = ctx.CompileString("{}")
	for _, one := range in.Sources {
		documents, err := l.files.Parse(ctx, one)
		if err != nil {
			return l.files.Syntax(one, err)
		}
		for _, document := range documents {
			if err := l.checkRoot(document, one.Name); err != nil {
				return err
			}
			document = l.place(document)
			// A single document with a fault must not be unified: its valid parts would be
			// lost.
			alone := len(in.Sources) == 1 && len(documents) == 1
			if kind := document.IncompleteKind(); !alone || kind != cue.StructKind && kind != cue.BottomKind {
				document = l.user.Unify(document)
			}
			l.user = document
		}
	}
	if in.Expression == "" {
		return nil
	}
	picked, err := l.pick(ctx, in.Expression)
	if err != nil {
		return err
	}
	l.user = picked
	return l.checkRoot(picked, "-e "+in.Expression)
}

// pick evaluates an expression in the scope of the sources.
func (l *loader) pick(ctx *cue.Context, expression string) (cue.Value, error) {
	name := "-e " + expression
	expr, err := parser.ParseExpr(name, expression)
	if err != nil {
		return cue.Value{}, schema.Problems{{File: name, Reason: l.message(name, cueerrors.Promote(err, "")), Want: `CUE, such as "machines.web1"`}}
	}
	if path := cue.ParsePath(expression); path.Err() == nil {
		// A lookup ignores faults beside the path.
		v := l.user.LookupPath(path)
		if !v.Exists() {
			return v, schema.Problems{{File: name, Reason: "there is no such field", Want: "a machine config in " + l.name}}
		}
		for _, selector := range path.Selectors() {
			l.prefix = append(l.prefix, unquoted(selector))
		}
		return v, nil
	}
	v := ctx.BuildExpr(expr, cue.Scope(l.user), cue.InferBuiltins(true))
	if !v.Exists() {
		reason := l.message(name, cueerrors.Promote(v.Err(), ""))
		return v, schema.Problems{{File: name, Reason: reason, Want: "an expression for a machine config in " + l.name}}
	}
	return v, nil
}

// unquoted returns a selector as the paths of CUE's errors have it.
func unquoted(selector cue.Selector) string {
	if selector.LabelType() == cue.StringLabel {
		return selector.Unquoted()
	}
	return selector.String()
}

// checkRoot returns a problem for a document that is not a struct.
func (l *loader) checkRoot(v cue.Value, name string) error {
	kind := v.IncompleteKind()
	if kind == cue.BottomKind || kind&cue.StructKind != 0 {
		return nil
	}
	p := schema.Problem{File: name, Reason: "is " + field.Article(kind) + " where a machine config belongs",
		Want: `a struct with the fields "machine" and "cluster"`}
	l.files.At(&p, v.Pos())
	return schema.Problems{p}
}

// placeFragment moves a part of a config to where the schema has it.
func placeFragment(v cue.Value) cue.Value {
	for it, err := v.Fields(); err == nil && it.Next(); {
		if parent := field.Parent(it.Selector().Unquoted()); parent != "" {
			return cuecontext.New().CompileString("{}").FillPath(cue.ParsePath(parent), v)
		}
	}
	return v
}
