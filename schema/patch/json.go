package patch

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
	"github.com/spanmesh/span/schema/load"
)

// applyJSON applies the operations of a JSON patch. Name is the name of the patch.
func applyJSON(base any, name string, operations []any) (any, error) {
	text, err := json.Marshal(operations)
	if err != nil {
		return nil, err
	}
	document, err := json.Marshal(base)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, refused(name, "has an element that is not an operation")
	}
	options := jsonpatch.NewApplyOptions()
	options.EnsurePathExistsOnAdd = true
	for i, one := range patch {
		// One by one, so that the error names the operation.
		if document, err = (jsonpatch.Patch{one}).ApplyWithOptions(document, options); err != nil {
			return nil, refused(name, fmt.Sprintf("cannot be applied: operation %d (%s): %s", i+1, describe(one), why(err)))
		}
	}
	return load.DecodeJSON(document)
}

func refused(name, reason string) error {
	return schema.Problems{{File: name, Reason: reason, Want: "operations of a JSON patch (RFC 6902) that fit the config"}}
}

// kinds are the operations of a JSON patch.
var kinds = map[string]bool{"add": true, "remove": true, "replace": true, "move": true, "copy": true, "test": true}

// describe returns the kind and the path of an operation. Of the path it shows names of the schema
// and indexes only.
func describe(one jsonpatch.Operation) string {
	kind := one.Kind()
	if !kinds[kind] {
		kind = "unknown kind"
	}
	path, err := one.Path()
	if err != nil {
		return kind + ", without a path"
	}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if _, err := strconv.ParseUint(part, 10, 16); err != nil && part != "" && part != "-" && !field.IsName(part) {
			parts[i] = schema.Hidden
		}
	}
	return kind + " " + strings.Join(parts, "/")
}

// why returns the reason of an error of the library. Its messages may quote a value.
func why(err error) string {
	switch {
	case errors.Is(err, jsonpatch.ErrTestFailed):
		return "the config has another value"
	case errors.Is(err, jsonpatch.ErrMissing):
		return "the config has no such field"
	case errors.Is(err, jsonpatch.ErrInvalidIndex):
		return "the list has no such index"
	default:
		return "it is not valid"
	}
}
