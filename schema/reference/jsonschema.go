package reference

import (
	"bytes"
	"encoding/json"
	"fmt"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/ast/astutil"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"
	"cuelang.org/go/encoding/jsonschema"

	"github.com/spanmesh/span/schema"
)

// JSONSchema returns the schema as JSON Schema (draft 2020-12), for editors of YAML. It has types,
// bounds and defaults, but not the checks that @check names.
func JSONSchema() ([]byte, error) {
	ctx := cuecontext.New()
	file, err := parser.ParseFile("machine.cue", schema.CUE(), parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parse the schema: %w", err)
	}
	// Without this, a disjunction with a default loses its bounds.
	bare := astutil.Apply(file, func(c astutil.Cursor) bool {
		if or, ok := c.Node().(*ast.BinaryExpr); ok && or.Op == token.OR {
			if y, ok := or.Y.(*ast.UnaryExpr); ok && y.Op == token.MUL {
				c.Replace(or.X)
			}
		}
		return true
	}, nil).(*ast.File)
	shape := ctx.BuildFile(bare).LookupPath(cue.ParsePath("#Machine"))
	expr, err := jsonschema.Generate(shape, nil)
	if err != nil {
		return nil, fmt.Errorf("generate the JSON Schema: %w", err)
	}
	raw, err := ctx.BuildExpr(expr).MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("generate the JSON Schema: %w", err)
	}
	var document map[string]any
	if err := json.Unmarshal(raw, &document); err != nil {
		return nil, err
	}
	document["title"] = "Machine config of spanctl"
	complete(ctx, document)
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	err = encoder.Encode(document)
	return out.Bytes(), err
}

// complete adds the defaults and examples of the schema to the definitions of the document.
func complete(ctx *cue.Context, document map[string]any) {
	whole := ctx.CompileBytes(schema.CUE())
	delete(document, "required")
	definitions, _ := document["$defs"].(map[string]any)
	for name, one := range definitions {
		object, _ := one.(map[string]any)
		// The document lists fields with defaults as required.
		delete(object, "required")
		properties, _ := object["properties"].(map[string]any)
		for property, its := range properties {
			v := whole.LookupPath(cue.MakePath(cue.Def(name), cue.Str(property).Optional()))
			description, ok := its.(map[string]any)
			if !ok {
				continue
			}
			if value, ok := decoded(v.Default()); ok {
				description["default"] = value
			}
			if value, ok := decoded(ctx.CompileString(contents(v, "example")), true); ok {
				description["examples"] = []any{value}
			}
		}
	}
}

// decoded returns a value, unless there is none or it is not concrete.
func decoded(v cue.Value, has bool) (value any, ok bool) {
	if !has || v.Err() != nil || !v.IsConcrete() || v.IncompleteKind() == cue.StructKind && !hasFields(v) {
		return nil, false
	}
	return value, v.Decode(&value) == nil
}

func hasFields(v cue.Value) bool {
	it, err := v.Fields()
	return err == nil && it.Next()
}
