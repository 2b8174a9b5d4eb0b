package files

import (
	"bytes"
	"fmt"

	yamlnode "go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema"
)

// maxExpanded is how many nodes the aliases of a document may stand for. CUE has that bound too, but
// not for what "<<" merges.
const maxExpanded = 50_000

// checkAliases returns an error for YAML with a mapping that contains or merges itself, with which
// CUE's decoder may not end, for aliases that stand for too much, and for a text that is not what its
// tag says, which CUE takes. Other faults are left to the decoder.
func checkAliases(name string, data []byte) error {
	decoder := yamlnode.NewDecoder(bytes.NewReader(data))
	for {
		var document yamlnode.Node
		if decoder.Decode(&document) != nil {
			return nil
		}
		a := aliases{name: name, sizes: map[*yamlnode.Node]int{}}
		if _, err := a.size(&document); err != nil {
			return err
		}
		if n := Mistagged(&document); n != nil {
			return schema.Problems{{File: name, Line: n.Line, Column: n.Column, Reason: MistaggedReason, Want: MistaggedWant}}
		}
	}
}

// aliases are those of a document.
type aliases struct {
	name string
	// sizes are how many nodes the ones that were looked at stand for; 0 while one is looked at.
	sizes map[*yamlnode.Node]int
	// expanded is how many the aliases in the text stand for.
	expanded int
}

// size returns how many nodes a node stands for.
func (a *aliases) size(n *yamlnode.Node) (int, error) {
	if n.Kind == yamlnode.AliasNode {
		return a.expand(n)
	}
	if size, seen := a.sizes[n]; seen {
		return size, nil
	}
	a.sizes[n] = 0
	size := 1
	for _, child := range n.Content {
		its, err := a.size(child)
		if err != nil {
			return 0, err
		}
		size += its
	}
	a.sizes[n] = size
	return size, nil
}

// expand returns how many nodes an alias stands for.
func (a *aliases) expand(n *yamlnode.Node) (int, error) {
	if size, seen := a.sizes[n.Alias]; seen && size == 0 {
		return 0, fmt.Errorf("%s:%d: anchor %q value contains itself", a.name, n.Line, n.Value)
	}
	size, err := a.size(n.Alias)
	if a.expanded += size; err == nil && a.expanded > maxExpanded {
		err = fmt.Errorf("%s:%d: the aliases stand for more than %d nodes", a.name, n.Line, maxExpanded)
	}
	return size, err
}
