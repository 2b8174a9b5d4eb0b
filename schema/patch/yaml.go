package patch

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlEditor edits a text of YAML, or of JSON, which is YAML too.
type yamlEditor struct {
	*brackets
	*writer
}

// rewriteYAML returns a text of YAML or JSON whose settings are changed from before to after. All
// that is not changed is left, byte for byte.
func rewriteYAML(data []byte, isJSON bool, before, after any) ([]byte, bool) {
	from, ok := before.(map[string]any)
	to, okay := after.(map[string]any)
	if !ok || !okay {
		return nil, false
	}
	const mark = "\ufeff"
	body, marked := bytes.CutPrefix(data, []byte(mark))
	parsed := body
	if isJSON {
		parsed = withoutEscapes(body)
	}
	documents, ok := parseDocuments(parsed)
	if !ok {
		return nil, false
	}
	t := newText(body)
	w := &writer{json: isJSON, newline: t.lineBreak, tab: t.unit()}
	e := &yamlEditor{writer: w, brackets: &brackets{
		text: t, comment: "#", noTrailing: isJSON, multi: isJSON && w.tab != "", tab: w.tab, render: w.element}}
	e.indents(documents)
	if len(documents) == 0 {
		e.splices = append(e.splices, e.insertion(len(body), e.block(to, -e.step)))
	} else if !e.mapping(documents, from, to) {
		return nil, false
	}
	out, ok := spliced(body, e.splices)
	if marked {
		out = append([]byte(mark), out...)
	}
	return out, ok
}

// withoutEscapes returns a text of JSON of the same length without the escapes in it, not all of
// which the parser of YAML knows. The places of values are the same.
func withoutEscapes(data []byte) []byte {
	data = bytes.Clone(data)
	for i := 0; i+1 < len(data); i++ {
		if data[i] == '\\' {
			data[i], data[i+1] = '_', '_'
		}
	}
	return data
}

// parseDocuments returns the mappings that the documents of a text are. Empty documents are left
// out.
func parseDocuments(data []byte) (documents []*yaml.Node, ok bool) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document yaml.Node
		if err := decoder.Decode(&document); err != nil {
			return documents, errors.Is(err, io.EOF)
		}
		if len(document.Content) != 1 {
			return nil, false
		}
		root := document.Content[0]
		switch {
		case root.Kind == yaml.MappingNode:
			documents = append(documents, root)
		case root.Kind != yaml.ScalarNode || root.Tag != "!!null":
			return nil, false
		}
	}
}

// entry is a field in the text.
type entry struct {
	in         *yaml.Node // the mapping
	i          int        // counts from 0
	key, value *yaml.Node
}

// find returns the field with a name of each mapping that has one.
func find(mappings []*yaml.Node, name string) (entries []entry) {
	for _, n := range mappings {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i]; key.Kind == yaml.ScalarNode && key.Tag != "!!merge" && key.Value == name {
				entries = append(entries, entry{n, i / 2, key, n.Content[i+1]})
			}
		}
	}
	return entries
}

// mapping changes the fields of a struct, which is written in one mapping or in those of several
// documents.
func (e *yamlEditor) mapping(mappings []*yaml.Node, before, after map[string]any) bool {
	removed := map[*yaml.Node][]bool{}
	for _, n := range mappings {
		removed[n] = make([]bool, len(n.Content)/2)
	}
	var added []string
	names := maps.Clone(before)
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, had := before[name]
		value, has := after[name]
		entries := find(mappings, name)
		switch {
		case had && has && reflect.DeepEqual(was, value):
		case has && len(entries) == 0:
			added = append(added, name) // or it overrides one that is merged in by "<<"
		case has:
			entries = dropVanishing(entries, value, removed)
			if !e.change(entries, was, value) {
				return false
			}
		default:
			// None is left if the document that has it drops it as a whole.
			for _, one := range entries {
				removed[one.in][one.i] = true
			}
		}
	}
	for i, n := range mappings {
		var additions []string
		if i == 0 {
			additions = added
		}
		if !e.entries(n, removed[n], additions, after) {
			return false
		}
	}
	return true
}

// dropVanishing marks the fields as removed of which nothing is left in a document, as long as
// another document has the field too. It returns the others.
func dropVanishing(entries []entry, value any, removed map[*yaml.Node][]bool) (left []entry) {
	for i, one := range entries {
		if vanishes(one.value, value) && (len(left) > 0 || i < len(entries)-1) {
			removed[one.in][one.i] = true
			continue
		}
		left = append(left, one)
	}
	return left
}

// vanishes reports whether a struct in the text has none of the fields that a value has.
func vanishes(n *yaml.Node, value any) bool {
	fields, ok := value.(map[string]any)
	if !ok || n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if its, has := fields[n.Content[i].Value]; has && !vanishes(n.Content[i+1], its) {
			return false
		}
	}
	return true
}

// change changes the value of a field, deep inside if that is possible.
func (e *yamlEditor) change(entries []entry, was, value any) bool {
	from, to := fieldsOf(was), fieldsOf(value)
	if inner := mappingsOf(entries); len(inner) > 0 && len(from) > 0 && len(to) > 0 {
		return e.mapping(inner, from, to)
	}
	items, list := itemsOf(was), itemsOf(value)
	if len(items) > 0 && len(list) > 0 && len(entries) == 1 && entries[0].value.Kind == yaml.SequenceNode {
		return e.sequence(entries[0].value, items, list)
	}
	for _, one := range entries {
		if !e.replaceValue(one, value) {
			return false
		}
	}
	return true
}

// mappingsOf returns the mappings that are the values of fields; nil if one is not a mapping.
func mappingsOf(entries []entry) (all []*yaml.Node) {
	for _, one := range entries {
		if one.value.Kind != yaml.MappingNode {
			return nil
		}
		all = append(all, one.value)
	}
	return all
}

// entries removes fields of a mapping, and adds others.
func (e *yamlEditor) entries(n *yaml.Node, removed []bool, added []string, after map[string]any) bool {
	if !slices.Contains(removed, true) && len(added) == 0 {
		return true
	}
	spans, ok := e.spans(n)
	if !ok {
		return false
	}
	if isFlow(n) {
		add := make([]element, len(added))
		for i, name := range added {
			add[i] = element{after: len(spans) - 1, name: name, named: true, value: after[name]}
		}
		at, ok := e.content(n)
		if ok {
			e.edit(at, spans, removed, add)
		}
		return ok
	}
	if len(added) == 0 && !slices.Contains(removed, false) {
		e.splices = append(e.splices, splice{spans[0].from, spans[len(spans)-1].to, "{}"})
		return true
	}
	if !e.removeLines(spans, removed) {
		return false
	}
	if len(added) == 0 {
		return true
	}
	var lines strings.Builder
	for _, name := range added {
		lines.WriteString(e.field(name, after[name], e.column(n)))
	}
	e.splices = append(e.splices, e.insertion(spans[len(spans)-1].to, lines.String()))
	return true
}

// span is a part of a text, in bytes.
type span struct{ from, to int }

// spans returns where the elements of a collection are: fields with their names, and the values of
// a sequence without their dashes.
func (t *text) spans(n *yaml.Node) (spans []span, ok bool) {
	width := 1
	if n.Kind == yaml.MappingNode {
		width = 2
	}
	indent := t.column(n)
	for i := 0; i+width <= len(n.Content); i += width {
		from, ok := t.start(n.Content[i])
		if !ok {
			return nil, false
		}
		to, ok := t.end(n.Content[i+width-1], indent)
		if !ok || to < from {
			return nil, false
		}
		spans = append(spans, span{from, to})
	}
	return spans, true
}
