package patch

import (
	"reflect"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/encode"
	"github.com/spanmesh/span/schema/load"
)

// Result is a config that patches were applied to.
type Result struct {
	schema.Source
	// Rewritten is set if the text was generated again, without its comments. This happens if
	// a patched setting is computed in the config.
	Rewritten bool
}

// Apply applies patches to a config, one after the other. The result need not be a valid config.
// Errors are of type schema.Problems if the fault is in the config or in a patch.
func Apply(base schema.Source, patches ...schema.Source) (Result, error) {
	before, err := load.Data(base)
	if err != nil {
		return Result{}, err
	}
	after := before
	for _, p := range patches {
		if after, err = apply(after, p); err != nil {
			return Result{}, err
		}
	}
	if reflect.DeepEqual(before, after) {
		return Result{Source: base}, nil
	}
	if text, ok := rewrite(base, before, after); ok {
		rewritten := schema.Source{Name: base.Name, Data: text}
		if got, err := load.Data(rewritten); err == nil && reflect.DeepEqual(got, after) {
			return Result{Source: rewritten}, nil
		}
	}
	text, err := encode.File(base.Name, after)
	return Result{Source: schema.Source{Name: base.Name, Data: text}, Rewritten: true}, err
}

// apply returns a config with the patches of one source applied: each of its documents is one.
func apply(base any, p schema.Source) (any, error) {
	documents, err := load.Documents(withDirectives(p))
	if err != nil {
		return nil, err
	}
	for _, patch := range documents {
		if base, err = applyOne(base, p.Name, patch); err != nil {
			return nil, err
		}
	}
	return base, nil
}

// applyOne returns a config with one patch applied. Name is the name of its source.
func applyOne(base any, name string, patch any) (any, error) {
	switch patch := patch.(type) {
	case map[string]any:
		return merge(base, patch), nil
	case []any:
		return applyJSON(base, name, patch)
	default:
		return nil, schema.Problems{{File: name, Reason: "is not a patch", Want: "a part of a machine config, or the list of operations of a JSON patch"}}
	}
}
