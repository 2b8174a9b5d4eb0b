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
	set, documents, err := parse(one)
	if err != nil {
		return nil, err
	}
	if len(documents) == 0 {
		return map[string]any{}, nil
	}
	all := documents[0]
	for _, document := range documents[1:] {
		all = all.Unify(document)
	}
	return decode(set, one, all)
}

// Documents returns the settings of each document of a source as Data does. CUE and JSON have one.
func Documents(one schema.Source) (all []any, err error) {
	set, documents, err := parse(one)
	if err != nil {
		return nil, err
	}
	for _, document := range documents {
		data, err := decode(set, one, document)
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// parse returns the documents of a source, and the set to report faults in it with.
func parse(one schema.Source) (*files.Set, []cue.Value, error) {
	if err := checkSize([]schema.Source{one}); err != nil {
		return nil, nil, err
	}
	set := files.New(one)
	documents, err := set.Parse(cuecontext.New(), one)
	if err != nil {
		return nil, nil, set.Syntax(one, err)
	}
	return set, documents, nil
}

// decode returns a value as encoding/json decodes it.
func decode(set *files.Set, one schema.Source, v cue.Value) (any, error) {
	if err := v.Validate(cue.Concrete(true)); err != nil {
		return nil, set.Syntax(one, err)
	}
	text, err := v.MarshalJSON()
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
