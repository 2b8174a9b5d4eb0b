package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	jsonpatch "github.com/evanphx/json-patch/v5"
	"go.yaml.in/yaml/v3"
)

// directive is the field of a strategic merge patch that says what is to be done with
// the struct that it is in.
const (
	directive        = "$patch"
	directiveDelete  = "delete"
	directiveReplace = "replace"
)

// Patched is a config that patches were applied to.
type Patched struct {
	Source
	// Rewritten tells that the text was made anew, and comments are gone: what is
	// patched is not written down in the config as it is, but computed.
	Rewritten bool
}

// Patch applies patches to a config, one after the other, and keeps its format, its
// comments and its order where it can. The result need not be a valid config.
//
// A patch that is a list is a JSON patch (RFC 6902); it may add below what is not there
// yet. Another is a strategic merge patch: structs are merged, null and {"$patch":
// "delete"} remove, {"$patch": "replace"} has the struct replace what was; to a list,
// what it does not have is added; static peers are merged by their names.
func Patch(base Source, patches ...Source) (Patched, error) {
	before, err := dataOf(base)
	if err != nil {
		return Patched{}, err
	}
	after := before
	for _, p := range patches {
		if after, err = patchData(after, p); err != nil {
			return Patched{}, err
		}
	}
	if reflect.DeepEqual(before, after) {
		return Patched{Source: base}, nil
	}
	if text, ok := rewrite(base, edits(before, after)); ok {
		if got, err := dataOf(Source{base.Name, text}); err == nil && reflect.DeepEqual(got, after) {
			return Patched{Source: Source{base.Name, text}}, nil
		}
	}
	text, err := written(base.Name, after)
	return Patched{Source: Source{base.Name, text}, Rewritten: true}, err
}

// dataOf is what a source says, without the schema's defaults, as JSON has it.
func dataOf(one Source) (any, error) {
	if len(one.Data) > maxSize {
		return nil, Problems{{File: one.Name, Reason: "is too long"}}
	}
	s := &source{name: one.Name, texts: map[string][]byte{one.Name: one.Data}}
	ctx := cuecontext.New()
	documents, err := s.parse(ctx, one)
	if err != nil {
		return nil, s.syntaxProblems(one, err)
	}
	if len(documents) == 0 {
		return map[string]any{}, nil
	}
	all := documents[0]
	for _, document := range documents[1:] {
		all = all.Unify(document)
	}
	if err := all.Validate(cue.Concrete(true)); err != nil {
		return nil, s.syntaxProblems(one, err)
	}
	text, err := all.MarshalJSON()
	if err != nil {
		return nil, s.syntaxProblems(one, err)
	}
	return decode(text)
}

// decode reads JSON and keeps numbers as they are written.
func decode(text []byte) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err = decoder.Decode(&value)
	return value, err
}

func patchData(base any, p Source) (any, error) {
	patch, err := dataOf(p)
	if err != nil {
		return nil, err
	}
	switch patch := patch.(type) {
	case map[string]any:
		return merge(base, patch), nil
	case []any:
		return jsonPatch(base, p.Name, patch)
	default:
		return nil, Problems{{File: p.Name, Reason: "is no patch", Want: "a part of a machine config, or the list of operations of a JSON patch"}}
	}
}

func jsonPatch(base any, name string, operations []any) (any, error) {
	text, err := json.Marshal(operations)
	if err != nil {
		return nil, err
	}
	document, err := json.Marshal(base)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err == nil {
		options := jsonpatch.NewApplyOptions()
		options.EnsurePathExistsOnAdd = true
		document, err = patch.ApplyWithOptions(document, options)
	}
	if err != nil {
		return nil, Problems{{File: name, Reason: "cannot be applied: " + scrub(err.Error()), Want: "operations of a JSON patch (RFC 6902) that fit the config"}}
	}
	return decode(document)
}

// merge is a strategic merge of a patch into a value.
func merge(base any, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		if list, ok := patch.([]any); ok {
			return mergeLists(base, list)
		}
		return patch
	}
	out := map[string]any{}
	if before, ok := base.(map[string]any); ok && changes[directive] != directiveReplace {
		for name, value := range before {
			out[name] = value
		}
	}
	for name, change := range changes {
		one, isStruct := change.(map[string]any)
		switch {
		case name == directive:
		case change == nil, isStruct && one[directive] == directiveDelete:
			delete(out, name)
		default:
			out[name] = merge(out[name], change)
		}
	}
	return out
}

// mergeLists adds to a list what it does not have. Structs with a name are merged with
// the one of that name, or remove it.
func mergeLists(base any, patch []any) any {
	before, _ := base.([]any)
	out := slices.Clone(before)
	for _, item := range patch {
		change, named := item.(map[string]any)
		at := slices.IndexFunc(out, func(have any) bool {
			if one, ok := have.(map[string]any); ok && named && change["name"] != nil {
				return one["name"] == change["name"]
			}
			return reflect.DeepEqual(have, item)
		})
		switch {
		case named && change[directive] == directiveDelete:
			if at >= 0 {
				out = slices.Delete(out, at, at+1)
			}
		case at >= 0:
			out[at] = merge(out[at], item)
		default:
			out = append(out, merge(nil, item))
		}
	}
	return out
}

// edit sets or removes one field of a config.
type edit struct {
	path   []string
	value  any
	remove bool
}

// edits are those that lead from one value to another, as deep down as they can be.
func edits(before, after any) (list []edit) {
	from, ok := before.(map[string]any)
	to, okay := after.(map[string]any)
	if !ok || !okay {
		return nil
	}
	for _, name := range sortedKeys(from) {
		if _, stays := to[name]; !stays {
			list = append(list, edit{path: []string{name}, remove: true})
		}
	}
	for _, name := range sortedKeys(to) {
		_, isStruct := to[name].(map[string]any)
		_, was := from[name].(map[string]any)
		switch {
		case reflect.DeepEqual(from[name], to[name]):
		case isStruct && was:
			for _, e := range edits(from[name], to[name]) {
				e.path = append([]string{name}, e.path...)
				list = append(list, e)
			}
		default:
			list = append(list, edit{path: []string{name}, value: to[name]})
		}
	}
	return list
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// rewrite edits the text of a config in its own format, if it can.
func rewrite(base Source, list []edit) (text []byte, ok bool) {
	switch formatOf(base.Name) {
	case FormatYAML:
		text, ok = rewriteYAML(base.Data, list)
	case FormatCUE:
		text, ok = rewriteCUE(base, list)
	}
	return text, ok
}

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

var errShape = errors.New("the config is not written in a way that can be edited")

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

// nest is a value at a path.
func nest(path []string, value any) any {
	for _, name := range slices.Backward(path) {
		value = map[string]any{name: value}
	}
	return value
}

// plain has numbers as such, for who does not know json.Number.
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
