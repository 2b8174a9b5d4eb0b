package load

import (
	"bytes"
	"encoding/json"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/files"
)

// Data returns the settings of a source as encoding/json decodes them, with json.Number for
// numbers. They have no defaults and are not checked against the schema.
func Data(one schema.Source) (any, error) {
	if err := checkSize([]schema.Source{one}); err != nil {
		return nil, err
	}
	set := files.New(one)
	documents, err := set.Parse(cuecontext.New(), one)
	if err != nil {
		return nil, set.Syntax(one, err)
	}
	if len(documents) == 0 {
		return map[string]any{}, nil
	}
	all := documents[0]
	for _, document := range documents[1:] {
		all = all.Unify(document)
	}
	if err := all.Validate(cue.Concrete(true)); err != nil {
		return nil, set.Syntax(one, err)
	}
	text, err := all.MarshalJSON()
	if err != nil {
		return nil, set.Syntax(one, err)
	}
	return DecodeJSON(text)
}

// DecodeJSON decodes JSON with json.Number for numbers.
func DecodeJSON(text []byte) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err = decoder.Decode(&value)
	return value, err
}
