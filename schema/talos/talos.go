package talos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/encode"
	"github.com/spanmesh/span/schema/internal/files"
	"github.com/spanmesh/span/schema/load"
)

// Result is a machine config that was converted from a Talos config.
type Result struct {
	// Data is the config.
	Data []byte
	// Left has the fields and documents that were left out, in the order of the file.
	Left []string
	// Notes say what was added, and what the user must do about it.
	Notes []string
}

// want is the remedy for a file that is not a machine config of Talos.
const want = "the spec of `talosctl get machineconfig -o yaml`, or a file that `talosctl gen config` wrote"

// Import makes a machine config, in the format of name. If the file has no cluster ID and secret,
// as before Talos 0.12, the config gets new ones from random.
func Import(name string, file schema.Source, random io.Reader) (Result, error) {
	r := result{file: file.Name, settings: map[string]any{}}
	if err := r.read(file); err != nil {
		return Result{}, err
	}
	if !r.known {
		return Result{}, schema.Problems{{File: file.Name, Reason: "is not a Talos machine config", Want: want}}
	}
	if len(r.problems) > 0 {
		return Result{}, r.problems
	}
	if err := r.complete(random); err != nil {
		return Result{}, err
	}
	data, err := encode.File(name, r.settings)
	if err != nil {
		return Result{}, err
	}
	if mark := commentMark(name); mark != "" {
		data = append([]byte(mark+" Made from a Talos machine config by `spanctl import talos`.\n"), data...)
	}
	_, err = load.Config(name, data)
	return Result{Data: data, Left: r.left, Notes: r.notes}, err
}

// commentMark returns what begins a comment, or "" for a format without comments.
func commentMark(name string) string {
	switch schema.FormatOf(name) {
	case schema.FormatYAML:
		return "#"
	case schema.FormatJSON:
		return ""
	default:
		return "//"
	}
}

// result is a config under construction.
type result struct {
	// file is the name of the Talos file.
	file string
	// settings are the settings of the new config.
	settings map[string]any
	// endpoints are the URLs of discovery services.
	endpoints []any
	// places are the nodes of the current document, by the paths that problems have.
	places map[string]*yaml.Node
	// known is set once a setting or a document of Talos was recognized.
	known    bool
	left     []string
	notes    []string
	problems schema.Problems
}

// read adds the settings of all documents of a file.
func (r *result) read(file schema.Source) error {
	decoder := yaml.NewDecoder(bytes.NewReader(file.Data))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			line, reason := files.YAMLError(err)
			return schema.Problems{{File: file.Name, Line: line, Column: min(line, 1), Reason: reason, Want: want}}
		}
		// The decoder's own error quotes the value.
		var document map[string]any
		if err := node.Decode(&document); err != nil {
			line, _ := files.YAMLError(err)
			return schema.Problems{{File: file.Name, Line: max(line, node.Line), Column: 1,
				Reason: "has a value that is not a struct, a field twice, or a field without a name", Want: want}}
		}
		if document != nil {
			kind, _ := document["kind"].(string)
			r.locate(prefixOf(kind), &node)
			r.document(document)
		}
	}
}

// prefixOf returns what the paths of a document begin with. The document v1alpha1 has no kind.
func prefixOf(kind string) string {
	if kind == "" {
		return ""
	}
	return "document " + kind
}

// locate records the places of the fields of a document.
func (r *result) locate(prefix string, document *yaml.Node) {
	r.places = map[string]*yaml.Node{}
	var walk func(path string, n *yaml.Node)
	walk = func(path string, n *yaml.Node) {
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			below := strings.TrimPrefix(path+"."+n.Content[i].Value, ".")
			r.places[below] = n.Content[i]
			walk(below, n.Content[i+1])
		}
	}
	for _, root := range document.Content {
		walk(prefix, root)
	}
}

// set sets a field of the result, and refuses to do so twice with different values.
func (r *result) set(from, to string, value any) {
	path := strings.Split(to, ".")
	at := r.settings
	for _, name := range path[:len(path)-1] {
		inner, ok := at[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			at[name] = inner
		}
		at = inner
	}
	last := path[len(path)-1]
	if before, set := at[last]; set && fmt.Sprint(before) != fmt.Sprint(value) {
		p := schema.Problem{File: r.file, Path: from, Reason: "is set twice, with different values", Want: "it in one document only"}
		if place := r.places[from]; place != nil {
			p.Line, p.Column = place.Line, place.Column
		}
		r.problems = append(r.problems, p)
		return
	}
	at[last] = value
}
