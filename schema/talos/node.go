package talos

import (
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema/internal/field"
)

// mergeTag is the tag of the key <<, whose value is merged into the struct.
const mergeTag = "!!merge"

// entry is a field of a struct.
type entry struct {
	name string
	key  *yaml.Node
	// value is never an alias.
	value *yaml.Node
}

// entries returns the fields of a struct, with those that it merges from others. Its own fields
// take precedence.
func entries(n *yaml.Node) (list []entry) {
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolve(n.Content[i+1])
		switch {
		case key.Tag != mergeTag:
			list = append(list, entry{key.Value, key, value})
		case value.Kind == yaml.SequenceNode:
			merged = append(merged, value.Content...)
		default:
			merged = append(merged, value)
		}
	}
	for _, other := range merged {
		other = resolve(other)
		if other.Kind != yaml.MappingNode {
			continue
		}
		for _, e := range entries(other) {
			if find(list, e.name) == nil {
				list = append(list, e)
			}
		}
	}
	return list
}

// find returns the field with a name, or nil.
func find(list []entry, name string) *entry {
	for i := range list {
		if list[i].name == name {
			return &list[i]
		}
	}
	return nil
}

// text returns the scalar of a field, or "".
func text(list []entry, name string) string {
	if e := find(list, name); e != nil && e.value.Kind == yaml.ScalarNode && !isNull(e.value) {
		return e.value.Value
	}
	return ""
}

// resolve returns what an alias stands for, and any other node itself.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// isTagged reports whether a node has a tag that is not one of YAML's own.
func isTagged(n *yaml.Node) bool {
	return strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!")
}

// article returns the kind of a node with an article, such as "a list".
func article(n *yaml.Node) string {
	kind := cue.StringKind
	switch n = resolve(n); {
	case n.Kind == yaml.MappingNode:
		kind = cue.StructKind
	case n.Kind == yaml.SequenceNode:
		kind = cue.ListKind
	case isNull(n):
		kind = cue.NullKind
	case n.ShortTag() == "!!bool":
		kind = cue.BoolKind
	case n.ShortTag() == "!!int":
		kind = cue.IntKind
	case n.ShortTag() == "!!float":
		kind = cue.FloatKind
	}
	return field.Article(kind)
}

func itoa(n int) string { return strconv.Itoa(n) }
