package field

import (
	"sync"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"
)

// Defaults returns the paths of the fields that have a default, in the order of the schema.
func Defaults() []string { return defaults() }

var defaults = sync.OnceValue(func() (paths []string) {
	file, err := parser.ParseFile("schema", Inlined)
	if err != nil {
		return nil
	}
	eachDefault(file, func(path string, _ *ast.Field, _ ast.Expr) { paths = append(paths, path) })
	return paths
})

// Without returns the text of a schema without the defaults of the fields at some paths. Text is
// [Inlined] or the schema with a definition for each struct.
func Without(text string, paths []string) ([]byte, error) {
	file, err := parser.ParseFile("schema", text, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	drop := map[string]bool{}
	for _, path := range paths {
		drop[path] = true
	}
	eachDefault(file, func(path string, f *ast.Field, rest ast.Expr) {
		if drop[path] {
			f.Value = rest
		}
	})
	return format.Node(file)
}

// eachDefault calls do for each field below #Machine with a default. Rest is its value without it.
func eachDefault(file *ast.File, do func(path string, f *ast.Field, rest ast.Expr)) {
	definitions := map[string]ast.Expr{}
	for name, f := range Fields(file.Decls) {
		definitions[name] = f.Value
	}
	var walk func(path string, value ast.Expr)
	walk = func(path string, value ast.Expr) {
		if name, ok := value.(*ast.Ident); ok {
			value = definitions[name.Name]
		}
		literal, ok := value.(*ast.StructLit)
		if !ok {
			return
		}
		for name, f := range Fields(literal.Elts) {
			if or, ok := f.Value.(*ast.BinaryExpr); ok && or.Op == token.OR {
				if mark, ok := or.Y.(*ast.UnaryExpr); ok && mark.Op == token.MUL {
					do(Join(path, name), f, or.X)
				}
			}
			walk(Join(path, name), f.Value)
		}
	}
	walk("", definitions["#Machine"])
}

// Unchecked returns the text of a schema whose definitions take anything.
func Unchecked(text []byte) []byte {
	file, err := parser.ParseFile("schema", text)
	if err != nil {
		return text
	}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.Field); ok {
			f.Value, f.Attrs = ast.NewIdent("_"), nil
		}
	}
	if open, err := format.Node(file); err == nil {
		return open
	}
	return text
}
