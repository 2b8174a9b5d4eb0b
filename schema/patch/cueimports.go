package patch

import (
	"path"
	"strconv"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/parser"
)

// withoutUnused returns a text of CUE without the imports that nothing in it uses any more, which
// are an error.
func withoutUnused(data []byte) []byte {
	file, err := parser.ParseFile("", data, parser.ParseComments)
	if err != nil {
		return data
	}
	used := map[string]bool{}
	ast.Walk(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := selector.X.(*ast.Ident); ok {
				used[x.Name] = true
			}
		}
		return true
	}, nil)
	t := newText(data)
	var splices []splice
	for _, d := range file.Decls {
		imports, ok := d.(*ast.ImportDecl)
		if !ok {
			continue
		}
		left := len(imports.Specs)
		for _, spec := range imports.Specs {
			if used[importName(spec)] {
				continue
			}
			left--
			if from, to := spec.Pos().Offset(), spec.End().Offset(); t.opensLine(from) {
				splices = append(splices, splice{from: t.starts[t.line(from)], to: t.next(to)})
			}
		}
		if left == 0 {
			from, to := imports.Pos().Offset(), imports.End().Offset()
			splices = []splice{{from: t.starts[t.line(from)], to: t.next(to)}}
		}
		if out, ok := spliced(data, splices); ok && len(splices) > 0 {
			return withoutUnused(out)
		}
	}
	return data
}

// importName returns the name that an import is used by.
func importName(spec *ast.ImportSpec) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	location, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return ""
	}
	if _, name, qualified := strings.Cut(location, ":"); qualified {
		return name
	}
	return path.Base(location)
}
