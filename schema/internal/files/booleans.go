package files

import (
	"slices"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/token"

	"github.com/spanmesh/span/schema/internal/field"
)

// booleans are the words that YAML 1.1 has for true and false beside these. Talos takes them, in
// quotes too, where a field is true or false, since its YAML library does.
var booleans = map[string]bool{
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

// readBooleans replaces these words in a YAML document by true and false, where the schema wants
// that. They keep their positions. Chain is where the document is.
func readBooleans(chain []string, expr ast.Expr) {
	document, ok := expr.(*ast.StructLit)
	if !ok {
		return
	}
	for name, f := range field.Fields(document.Elts) {
		below := append(slices.Clip(chain), name)
		readBooleans(below, f.Value)
		old, ok := f.Value.(*ast.BasicLit)
		if !ok || old.Kind != token.STRING || !field.IsBool(below) {
			continue
		}
		word, err := literal.Unquote(old.Value)
		if value, known := booleans[word]; err == nil && known {
			boolean := ast.NewBool(value)
			boolean.ValuePos = old.ValuePos
			f.Value = boolean
		}
	}
}
