package files

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
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

// readScalars replaces scalars in a YAML document, where the schema wants another kind, by what Talos'
// YAML library takes them for: these words by true and false, and 1400.0 by 1400. They keep their
// positions. Chain is where the document is.
func readScalars(chain []string, expr ast.Expr) {
	document, ok := expr.(*ast.StructLit)
	if !ok {
		return
	}
	for name, f := range field.Fields(document.Elts) {
		below := append(slices.Clip(chain), name)
		readScalars(below, f.Value)
		kind := field.All()[field.Path(below)].Kind
		if negative, ok := f.Value.(*ast.UnaryExpr); ok {
			if of, ok := negative.X.(*ast.BasicLit); ok && of.Kind == token.FLOAT {
				if negative.X = number(of, kind); of.Value == "Inf" {
					f.Value = negative.X
				}
			}
			continue
		}
		old, ok := f.Value.(*ast.BasicLit)
		if !ok {
			continue
		}
		if old.Kind == token.STRING && field.IsBool(below) {
			word, err := literal.Unquote(old.Value)
			if value, known := booleans[word]; err == nil && known {
				boolean := ast.NewBool(value)
				boolean.ValuePos = old.ValuePos
				f.Value = boolean
			}
		}
		if old.Kind == token.FLOAT {
			f.Value = number(old, kind)
		}
	}
}

// number returns a number as a field of a kind has it. CUE's decoder makes numbers that CUE cannot
// read of some that YAML has.
func number(old *ast.BasicLit, want cue.Kind) *ast.BasicLit {
	text, _ := strings.CutPrefix(old.Value, "number & ")
	switch value, err := strconv.ParseFloat(text, 64); {
	case err != nil && text == old.Value:
		return old
	case err != nil:
		return &ast.BasicLit{ValuePos: old.ValuePos, Kind: token.STRING, Value: literal.String.Quote(text)}
	case math.IsInf(value, 0) || math.IsNaN(value):
		if strings.ContainsAny(text, "0123456789") {
			return old
		}
		return &ast.BasicLit{ValuePos: old.ValuePos, Kind: token.STRING, Value: literal.String.Quote(text)}
	case want&cue.IntKind != 0 && want&cue.FloatKind == 0 && value == math.Trunc(value) && math.Abs(value) <= maxWhole:
		return &ast.BasicLit{ValuePos: old.ValuePos, Kind: token.INT, Value: strconv.FormatInt(int64(value), 10)}
	case text != old.Value && !strings.ContainsAny(text, ".eE"):
		return &ast.BasicLit{ValuePos: old.ValuePos, Kind: token.INT, Value: text}
	case text != old.Value:
		return &ast.BasicLit{ValuePos: old.ValuePos, Kind: token.FLOAT, Value: text}
	default:
		return old
	}
}

// maxWhole is the number up to which each whole one is a float64.
const maxWhole = 1 << 53
