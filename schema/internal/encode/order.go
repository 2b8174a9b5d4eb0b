package encode

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	"github.com/spanmesh/span/schema/internal/field"
)

// ordered returns settings as JSON, with the fields of each struct in the order of the schema. Fields
// that it does not have come last.
func ordered(settings any) ([]byte, error) {
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var plain any
	if err := decoder.Decode(&plain); err != nil {
		return nil, err
	}
	return appendOrdered(nil, "", plain)
}

func appendOrdered(b []byte, path string, value any) (_ []byte, err error) {
	switch value := value.(type) {
	case map[string]any:
		b = append(b, '{')
		for i, name := range namesOf(path, value) {
			if i > 0 {
				b = append(b, ',')
			}
			quoted, err := json.Marshal(name)
			if err != nil {
				return nil, err
			}
			b = append(append(b, quoted...), ':')
			if b, err = appendOrdered(b, field.Join(path, name), value[name]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case []any:
		b = append(b, '[')
		for i, item := range value {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendOrdered(b, field.Join(path, field.Element), item); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	default:
		text, err := json.Marshal(value)
		return append(b, text...), err
	}
}

// namesOf returns the names of a struct's fields in the order of the schema.
func namesOf(path string, fields map[string]any) []string {
	known := field.All()[path].Children
	rank := func(name string) int {
		if at := slices.Index(known, name); at >= 0 {
			return at
		}
		return len(known)
	}
	return slices.SortedFunc(maps.Keys(fields), func(a, b string) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(a, b))
	})
}
