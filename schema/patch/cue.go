package patch

import (
	"slices"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/parser"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/encode"
)

// rewriteCUE makes the edits in a CUE file.
func rewriteCUE(base schema.Source, list []edit) ([]byte, bool) {
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

// body returns the struct that is the value of a field with that name, or nil.
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

// embedded returns the struct in an embedding such as machine.#Machine & {...}, or nil.
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

// holds reports whether a field is written below some declarations.
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

// setField sets the field at a path: where it is written, or else in the innermost struct of the
// path that is.
func setField(decls []ast.Decl, path []string, value any) ([]ast.Decl, bool) {
	expr, err := encode.Expr(value)
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

// removeField removes a field where it is written.
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
