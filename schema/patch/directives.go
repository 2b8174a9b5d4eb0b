package patch

import (
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/parser"

	"github.com/spanmesh/span/schema"
)

// withDirectives returns a patch in CUE with quotes around the words of $patch, which YAML needs none
// for: {$patch: delete} is as talosctl has it. Any other patch is as it was.
func withDirectives(p schema.Source) schema.Source {
	if schema.FormatOf(p.Name) != schema.FormatCUE {
		return p
	}
	file, err := parser.ParseFile(p.Name, p.Data)
	if err != nil {
		return p // which is reported where it is read
	}
	var data []byte
	end := 0
	ast.Walk(file, func(n ast.Node) bool {
		f, isField := n.(*ast.Field)
		if !isField {
			return true
		}
		name, _, err := ast.LabelName(f.Label)
		word, isWord := f.Value.(*ast.Ident)
		if err != nil || name != directive || !isWord || word.Name != directiveDelete && word.Name != directiveReplace {
			return true
		}
		at := word.Pos().Offset()
		data = append(append(data, p.Data[end:at]...), `"`+word.Name+`"`...)
		end = at + len(word.Name)
		return true
	}, nil)
	if end > 0 {
		p.Data = append(data, p.Data[end:]...)
	}
	return p
}
