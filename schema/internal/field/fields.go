package field

import (
	"iter"

	"cuelang.org/go/cue/ast"
)

// Fields returns the fields among declarations that have a name, with their names.
func Fields(decls []ast.Decl) iter.Seq2[string, *ast.Field] {
	return func(yield func(string, *ast.Field) bool) {
		for _, decl := range decls {
			f, ok := decl.(*ast.Field)
			if !ok {
				continue
			}
			if name, _, err := ast.LabelName(f.Label); err == nil && !yield(name, f) {
				return
			}
		}
	}
}
