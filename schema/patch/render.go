package patch

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// writer writes values as YAML or JSON, as the text around them is written.
type writer struct {
	// json is set for JSON.
	json bool
	// newline is the line break.
	newline string
	// step and listStep are how many columns a mapping and a list are indented in a mapping.
	step, listStep int
	// tab is what JSON is indented with, for each level; "" for JSON on one line.
	tab string
}

// scalar returns a value that is no collection, and an empty collection, on one line. Style is that
// of a text it replaces.
func (w *writer) scalar(value any, style yaml.Style) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "{}"
	case []any:
		return "[]"
	case json.Number:
		return value.String()
	case string:
		if w.json {
			return quoteJSON(value)
		}
		// In brackets, so that nothing is written that only a line of its own may have.
		return marshaled(&yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: []*yaml.Node{stringNode(value, style)}}, "[", "]", value)
	default:
		out, err := json.Marshal(value)
		if err != nil {
			return "null" // not reached: what is left are booleans
		}
		return string(out)
	}
}

// stringNode returns a text in quotes as those that it replaces, or where YAML needs some.
func stringNode(value string, style yaml.Style) *yaml.Node {
	n := &yaml.Node{}
	if err := n.Encode(value); err != nil || style&isQuoted != 0 {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value, Style: style & isQuoted}
	}
	return n
}

// marshaled returns a node as text without what is around it, or value in quotes if it takes
// several lines.
func marshaled(n *yaml.Node, before, after, value string) string {
	out, err := yaml.Marshal(n)
	text := strings.TrimSuffix(strings.TrimPrefix(string(out), before), after+"\n")
	if err != nil || strings.Contains(text, "\n") {
		return quoteJSON(value)
	}
	return text
}

// blockScalar returns what scalar does, for outside of brackets.
func (w *writer) blockScalar(value any, style yaml.Style) string {
	if text, ok := value.(string); ok && !w.json {
		return marshaled(stringNode(text, style), "", "", text)
	}
	return w.scalar(value, style)
}

// quoteJSON returns a text in double quotes, which YAML reads too.
func quoteJSON(value string) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return `""` // not reached: a string can be encoded
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// isEmpty reports whether a value is written on one line anyhow.
func isEmpty(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	default:
		return true
	}
}

// flow returns a value in brackets, on one line.
func (w *writer) flow(value any, style yaml.Style) string {
	var items []string
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			items = append(items, w.entry(name, value[name]))
		}
		return "{" + strings.Join(items, ", ") + "}"
	case []any:
		for _, item := range value {
			items = append(items, w.flow(item, 0))
		}
		return "[" + strings.Join(items, ", ") + "]"
	default:
		return w.scalar(value, style)
	}
}

// entry returns a field in brackets, on one line.
func (w *writer) entry(name string, value any) string {
	return w.scalar(name, 0) + ": " + w.flow(value, 0)
}

// lines returns a value of JSON with a line for each element, whose first line begins after indent.
func (w *writer) lines(value any, indent string) string {
	inner := w.newline + indent + w.tab
	var items []string
	switch {
	case isEmpty(value):
		return w.scalar(value, 0)
	default:
		if fields, ok := value.(map[string]any); ok {
			for _, name := range slices.Sorted(maps.Keys(fields)) {
				items = append(items, w.scalar(name, 0)+": "+w.lines(fields[name], indent+w.tab))
			}
			return "{" + inner + strings.Join(items, ","+inner) + w.newline + indent + "}"
		}
		for _, item := range value.([]any) {
			items = append(items, w.lines(item, indent+w.tab))
		}
		return "[" + inner + strings.Join(items, ","+inner) + w.newline + indent + "]"
	}
}

// element returns the text of an element in brackets, on lines of its own if asked for.
func (w *writer) element(one element, own bool, indent string) string {
	text := w.flow(one.value, 0)
	if w.json && w.tab != "" && own {
		text = w.lines(one.value, indent)
	}
	if one.named {
		return w.scalar(one.name, 0) + ": " + text
	}
	return text
}

// field returns the lines of a field of a mapping at a column.
func (w *writer) field(name string, value any, column int) string {
	return strings.Repeat(" ", column) + w.blockScalar(name, 0) + ":" + w.after(value, column)
}

// after returns what is after the colon of a field at a column, to the end of the last line.
func (w *writer) after(value any, column int) string {
	if isEmpty(value) {
		return " " + w.blockScalar(value, 0) + w.newline
	}
	return w.newline + w.block(value, column)
}

// block returns the lines of a collection in a mapping at a column.
func (w *writer) block(value any, column int) string {
	var b strings.Builder
	if fields, ok := value.(map[string]any); ok {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			b.WriteString(w.field(name, fields[name], column+w.step))
		}
		return b.String()
	}
	for _, item := range value.([]any) {
		b.WriteString(w.item(item, column+w.listStep))
	}
	return b.String()
}

// item returns the lines of an element of a list at a column.
func (w *writer) item(value any, column int) string {
	indent := strings.Repeat(" ", column)
	if isEmpty(value) {
		return indent + "- " + w.blockScalar(value, 0) + w.newline
	}
	if list, ok := value.([]any); ok {
		return indent + "- " + w.flow(list, 0) + w.newline
	}
	fields := value.(map[string]any)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		b.WriteString(w.field(name, fields[name], column+2))
	}
	// The first field is beside the dash.
	return indent + "- " + b.String()[column+2:]
}

// indents finds how a YAML text is indented: the first mapping and the first list in a mapping.
func (w *writer) indents(documents []*yaml.Node) {
	w.step, w.listStep = 0, -1
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && !isFlow(n) && i%2 == 1 && isBlockCollection(child) && child.Anchor == "" {
				column := n.Content[i-1].Column
				switch {
				case child.Kind == yaml.SequenceNode && w.listStep < 0:
					w.listStep = child.Column - column
				case child.Kind == yaml.MappingNode && w.step <= 0:
					w.step = child.Column - column
				}
			}
			walk(child)
		}
	}
	for _, document := range documents {
		walk(document)
	}
	if w.step < 1 {
		w.step = 2
	}
	if w.listStep < 0 {
		w.listStep = w.step
	}
}
