package schema

import (
	"encoding/json"
	"slices"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/parser"
)

// rewriteCUE edits a CUE file where its fields are written down as such.
func rewriteCUE(base Source, list []edit) ([]byte, bool) {
	file, err := parser.ParseFile(base.Name, base.Data, parser.ParseComments)
	if err != nil {
		return nil, false
	}
	for _, e := range list {
		var done bool
		if e.remove {
			file.Decls, done = removeField(file.Decls, e.path)
		} else {
			file.Decls, done = setField(file.Decls, e.path, e.value)
		}
		if !done {
			return nil, false
		}
	}
	text, err := format.Node(file, format.Simplify())
	return text, err == nil
}

// body is the struct that a declaration has fields in: the value of a field with that
// name, or what is embedded; nil if there is none.
func body(d ast.Decl, name string) *ast.StructLit {
	if f, ok := d.(*ast.Field); ok {
		if label, _, err := ast.LabelName(f.Label); err != nil || label != name {
			return nil
		}
		literal, _ := f.Value.(*ast.StructLit)
		return literal
	}
	return nil
}

// embedded is the struct in an embedding such as machine.#Machine & {...}.
func embedded(d ast.Decl) *ast.StructLit {
	e, ok := d.(*ast.EmbedDecl)
	if !ok {
		return nil
	}
	and, ok := e.Expr.(*ast.BinaryExpr)
	if !ok {
		return nil
	}
	for _, side := range []ast.Expr{and.Y, and.X} {
		if literal, ok := side.(*ast.StructLit); ok {
			return literal
		}
	}
	return nil
}

// holds tells whether a field is written down below some declarations.
func holds(decls []ast.Decl, path []string) bool {
	for _, d := range decls {
		if f, ok := d.(*ast.Field); ok && len(path) == 1 {
			if label, _, err := ast.LabelName(f.Label); err == nil && label == path[0] {
				return true
			}
		}
		if len(path) > 1 {
			if inner := body(d, path[0]); inner != nil && holds(inner.Elts, path[1:]) {
				return true
			}
		}
		if inner := embedded(d); inner != nil && holds(inner.Elts, path) {
			return true
		}
	}
	return false
}

// setField sets the field at a path: where it is written down, else beside what is
// there of its path.
func setField(decls []ast.Decl, path []string, value any) ([]ast.Decl, bool) {
	expr, err := exprOf(value)
	if err != nil {
		return decls, false
	}
	return setExpr(decls, path, expr)
}

func setExpr(decls []ast.Decl, path []string, expr ast.Expr) (out []ast.Decl, done bool) {
	written := holds(decls, path)
	for _, d := range decls {
		f, isField := d.(*ast.Field)
		if isField && len(path) == 1 && written {
			if label, _, err := ast.LabelName(f.Label); err == nil && label == path[0] {
				f.Value = expr
				return decls, true
			}
		}
		if inner := body(d, path[0]); inner != nil && len(path) > 1 && (!written || holds(inner.Elts, path[1:])) {
			inner.Elts, done = setExpr(inner.Elts, path[1:], expr)
			return decls, done
		}
		if inner := embedded(d); inner != nil && (!written || holds(inner.Elts, path)) {
			inner.Elts, done = setExpr(inner.Elts, path, expr)
			return decls, done
		}
	}
	for _, name := range slices.Backward(path[1:]) {
		expr = &ast.StructLit{Elts: []ast.Decl{&ast.Field{Label: ast.NewStringLabel(name), Value: expr}}}
	}
	return append(decls, &ast.Field{Label: ast.NewStringLabel(path[0]), Value: expr}), true
}

// removeField takes a field away where it is written down.
func removeField(decls []ast.Decl, path []string) (out []ast.Decl, done bool) {
	for i, d := range decls {
		if f, ok := d.(*ast.Field); ok && len(path) == 1 {
			if label, _, err := ast.LabelName(f.Label); err == nil && label == path[0] {
				return slices.Delete(decls, i, i+1), true
			}
		}
		if inner := body(d, path[0]); inner != nil && len(path) > 1 && holds(inner.Elts, path[1:]) {
			inner.Elts, done = removeField(inner.Elts, path[1:])
			return decls, done
		}
		if inner := embedded(d); inner != nil && holds(inner.Elts, path) {
			inner.Elts, done = removeField(inner.Elts, path)
			return decls, done
		}
	}
	return decls, false
}

// exprOf is a value as CUE, laid out as people do.
func exprOf(value any) (ast.Expr, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	v := cuecontext.New().CompileBytes(text)
	if err := v.Err(); err != nil {
		return nil, err
	}
	expr, ok := v.Syntax(cue.Final()).(ast.Expr)
	if !ok {
		return nil, errShape
	}
	return expr, nil
}

// written is a value as a whole config, in the format of name.
func written(name string, value any) ([]byte, error) {
	if formatOf(name) != FormatCUE {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		return convert(name, text)
	}
	expr, err := exprOf(value)
	if err != nil {
		return nil, err
	}
	file := &ast.File{Decls: []ast.Decl{&ast.EmbedDecl{Expr: expr}}}
	if literal, ok := expr.(*ast.StructLit); ok {
		file.Decls = literal.Elts
	}
	return format.Node(file, format.Simplify())
}
