package talos

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/encode"
	"github.com/spanmesh/span/schema/internal/field"
	"github.com/spanmesh/span/schema/internal/files"
	"github.com/spanmesh/span/schema/load"
)

// Options say what Import makes of a file.
type Options struct {
	// Name is the name of the new config, whose ending is the format.
	Name string
	// Enable turns on KubeSpan and discovery, whatever the file says.
	Enable bool
	// NewSecrets is where a new cluster ID and secret come from, for a file that has neither and
	// needs them. If it is nil, such a file is refused.
	NewSecrets io.Reader
}

// Result is a machine config that was converted from a Talos config.
type Result struct {
	// Data is the config.
	Data []byte
	// Left has the fields and documents that are not about the mesh, in the order of the file.
	Left []string
	// Warnings say what spanctl does otherwise than Talos, or needs more for. Each has its place in
	// the Talos file.
	Warnings []string
	// Notes say what was added, and what is off.
	Notes []string
	// Off is set when KubeSpan is off in the result, since it is off in the file.
	Off bool
}

// want is the remedy for a file that is not a machine config of Talos.
const want = "the spec of `talosctl get machineconfig -o yaml`, or a file that `talosctl gen config` wrote"

// Import makes a machine config out of a Talos config. Its errors are schema.Problems with places in
// the Talos file, but for those of reading Options.NewSecrets.
func Import(file schema.Source, o Options) (Result, error) {
	r := &result{file: file.Name, lines: bytes.Split(file.Data, []byte("\n")), settings: map[string]any{}, origins: map[string]origin{}, sections: map[string]*yaml.Node{}}
	if p := files.YAMLText(file.Name, file.Data); p != nil {
		return Result{}, schema.Problems{*p}
	}
	r.read(file.Data)
	if !r.known && len(r.problems) == 0 {
		r.problem(nil, "", "is not a Talos machine config", want)
	}
	if err := r.complete(o); err != nil {
		return Result{}, err
	}
	if len(r.problems) > 0 {
		r.problems.Sort()
		return Result{}, r.problems
	}
	data, err := encode.File(o.Name, ordered{"", r.settings})
	if err != nil {
		return Result{}, err
	}
	if mark := schema.FormatOf(o.Name).CommentMark(); mark != "" {
		data = append([]byte(mark+" Made from a Talos machine config by `spanctl import talos`.\n"), data...)
	}
	config, err := load.Config(o.Name, data)
	if err != nil {
		return Result{}, r.located(err)
	}
	for _, warning := range config.Warnings() {
		path, text, _ := strings.Cut(warning, " ")
		if !r.emptied || path != endpointFilter {
			r.warn(r.origins[path].node, r.origins[path].name, text)
		}
	}
	return Result{Data: data, Left: r.left, Warnings: r.warnings, Notes: r.notes, Off: !config.KubeSpan().Enabled}, nil
}

// result is a config under construction.
type result struct {
	// file is the name of the Talos file, and lines are its lines.
	file  string
	lines [][]byte
	// settings are the settings of the new config.
	settings map[string]any
	// origins has where settings and elements of lists come from, by their paths.
	origins map[string]origin
	// sections has where a document first set what only one may set.
	sections map[string]*yaml.Node
	// services are the URLs of discovery services in documents of their own.
	services []any
	// emptied is set when an empty list of filters was written out.
	emptied bool
	// known is set once a part of a Talos config was recognized.
	known    bool
	left     []string
	warnings []string
	notes    []string
	problems schema.Problems
}

// origin is a place in the Talos file.
type origin struct {
	// name is what the user finds there.
	name string
	node *yaml.Node
}

// problem records a fault. Node is nil for the whole file.
func (r *result) problem(node *yaml.Node, path, reason, want string) {
	r.problems = append(r.problems, r.at(node, path, reason, want))
}

// warn records a warning.
func (r *result) warn(node *yaml.Node, path, text string) {
	r.warnings = append(r.warnings, r.at(node, path, text, "").Error())
}

func (r *result) at(node *yaml.Node, path, reason, want string) schema.Problem {
	p := schema.Problem{File: r.file, Path: path, Reason: reason, Want: want}
	if node != nil {
		p.Line, p.Column = node.Line, r.column(node)
	}
	return p
}

// column returns the column of a node in bytes. The YAML parser counts characters.
func (r *result) column(node *yaml.Node) int {
	if node.Line < 1 || node.Line > len(r.lines) || node.Column < 1 {
		return node.Column
	}
	line, at := r.lines[node.Line-1], 0
	for column := 1; column < node.Column && at < len(line); column++ {
		_, size := utf8.DecodeRune(line[at:])
		at += size
	}
	return at + 1
}

// read adds the settings of all documents of a file. It stops at a document that cannot be read.
func (r *result) read(data []byte) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			line, reason := files.YAMLError(err)
			r.problem(&yaml.Node{Line: line, Column: min(line, 1)}, "", reason, want)
			return
		}
		if !r.readDocument(node.Content[0]) {
			return
		}
	}
}

// readDocument adds the settings of a document, and reports whether it could be read.
func (r *result) readDocument(root *yaml.Node) bool {
	if isNull(root) {
		return true
	}
	if root.Kind != yaml.MappingNode {
		r.problem(root, "", "is "+article(root)+" where a machine config belongs", want)
		return false
	}
	if r.repeats(root) {
		return false
	}
	if n := files.Mistagged(root); n != nil {
		r.problem(n, "", files.MistaggedReason, files.MistaggedWant)
		return false
	}
	// The decoder finds what the tree of nodes does not show, such as an anchor that contains itself.
	if err := root.Decode(new(any)); err != nil {
		line, reason := files.YAMLError(err)
		r.problem(&yaml.Node{Line: max(line, root.Line), Column: 1}, "", reason, want)
		return false
	}
	r.document(root)
	return true
}

// repeats records each field that a struct has twice, at any depth, and reports whether there is one.
func (r *result) repeats(n *yaml.Node) (found bool) {
	seen := map[string]int{}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch first, again := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			r.problem(key, "", "is "+article(key)+" where the name of a field belongs", want)
			found = true
		case again && key.Tag != mergeTag:
			name := schema.Hidden
			if field.IsName(key.Value) || isTalos(key.Value) {
				name = key.Value
			}
			r.problem(key, name, "is there twice", "one of the two: the first is in line "+itoa(first))
			found = true
		default:
			seen[key.Value] = key.Line
		}
	}
	for _, inner := range n.Content {
		found = r.repeats(inner) || found
	}
	return found
}

// located returns the problems of the new config with the places in the Talos file.
func (r *result) located(err error) error {
	var problems schema.Problems
	if !errors.As(err, &problems) {
		return err
	}
	for i := range problems {
		p := &problems[i]
		moved := schema.Problem{File: r.file, Path: p.Path, Value: p.Value, Reason: p.Reason, Want: p.Want}
		for path := p.Path; path != ""; path = path[:max(strings.LastIndexAny(path, ".["), 0)] {
			if from, found := r.origins[path]; found {
				moved.Line, moved.Column, moved.Path = from.node.Line, r.column(from.node), from.name
				break
			}
		}
		*p = moved
	}
	problems.Sort()
	return problems
}
