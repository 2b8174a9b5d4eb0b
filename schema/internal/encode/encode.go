// Package encode writes machine configs in CUE, YAML and JSON.
package encode

import (
	"bytes"
	"encoding/json"
	"fmt"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/encoding/yaml"

	"github.com/spanmesh/span/schema"
)

// File returns a whole config with the given settings, in the format of name. The settings have the
// order of the schema: what is left of a file that is cut off is not valid.
func File(name string, settings any) ([]byte, error) {
	text, err := ordered(settings)
	if err != nil {
		return nil, err
	}
	if schema.FormatOf(name) != schema.FormatCUE {
		return Convert(name, text)
	}
	expr, err := literal(text)
	if err != nil {
		return nil, err
	}
	file := &ast.File{Decls: []ast.Decl{&ast.EmbedDecl{Expr: expr}}}
	if literal, ok := expr.(*ast.StructLit); ok {
		file.Decls = literal.Elts
	}
	return format.Node(file, format.Simplify())
}

// Expr returns a value as CUE.
func Expr(value any) (ast.Expr, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return literal(text)
}

// literal returns JSON as CUE.
func literal(text []byte) (ast.Expr, error) {
	v := cuecontext.New().CompileBytes(text)
	if err := v.Err(); err != nil {
		return nil, err
	}
	expr, ok := v.Syntax(cue.Final()).(ast.Expr)
	if !ok {
		return nil, fmt.Errorf("write CUE: a %T is not an expression", v.Syntax(cue.Final()))
	}
	return expr, nil
}

// Convert returns CUE source in the format of name.
func Convert(name string, source []byte) ([]byte, error) {
	switch schema.FormatOf(name) {
	case schema.FormatYAML:
		return toYAML(source)
	case schema.FormatJSON:
		return toJSON(source)
	default:
		return format.Source(source, format.Simplify())
	}
}

func toYAML(source []byte) ([]byte, error) {
	v := cuecontext.New().CompileBytes(source)
	if err := v.Err(); err != nil {
		return nil, err
	}
	return yaml.Encode(v)
}

func toJSON(source []byte) ([]byte, error) {
	v := cuecontext.New().CompileBytes(source)
	if err := v.Validate(cue.Concrete(true)); err != nil {
		return nil, err
	}
	compact, err := v.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
