package patch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// rewriteYAML makes the edits in a YAML file with one document.
func rewriteYAML(data []byte, list []edit) ([]byte, bool) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil || len(document.Content) != 1 {
		return nil, false
	}
	if err := decoder.Decode(new(yaml.Node)); err == nil {
		return nil, false // there are several documents
	}
	for _, e := range list {
		if err := setYAML(document.Content[0], e); err != nil {
			return nil, false
		}
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(&document), encoder.Close()); err != nil {
		return nil, false
	}
	return out.Bytes(), true
}

// errShape is the error of a text in which a setting is not written as a field.
var errShape = errors.New("the text cannot be edited")

// setYAML makes one edit in a mapping.
func setYAML(n *yaml.Node, e edit) error {
	if n.Kind != yaml.MappingNode {
		return errShape
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value != e.path[0] {
			continue
		}
		switch {
		case len(e.path) > 1:
			e.path = e.path[1:]
			return setYAML(n.Content[i+1], e)
		case e.remove:
			n.Content = slices.Delete(n.Content, i, i+2)
			return nil
		}
		value := &yaml.Node{}
		if err := value.Encode(plain(e.value)); err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		value.LineComment = n.Content[i+1].LineComment
		n.Content[i+1] = value
		return nil
	}
	var key, value yaml.Node
	key.SetString(e.path[0])
	if err := value.Encode(plain(nest(e.path[1:], e.value))); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	n.Content = append(n.Content, &key, &value)
	return nil
}

// plain returns a value with numbers in place of json.Number, which the YAML encoder quotes.
func plain(value any) any {
	switch value := value.(type) {
	case json.Number:
		if n, err := value.Int64(); err == nil && !strings.ContainsAny(string(value), ".eE") {
			return n
		}
		f, _ := value.Float64()
		return f
	case map[string]any:
		out := map[string]any{}
		for k, v := range value {
			out[k] = plain(v)
		}
		return out
	case []any:
		out := make([]any, len(value))
		for i, v := range value {
			out[i] = plain(v)
		}
		return out
	default:
		return value
	}
}
