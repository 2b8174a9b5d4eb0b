package resource

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Types are all types of resources, in the order in which they are listed.
var Types = []*Type{Identities, PeerSpecs, PeerStatuses, Endpoints, Affiliates, Members, MachineConfigs, Conditions, HealthStates, EventType}

// Type describes one type of resource. It has the names and columns of talosctl's where
// talosctl has the resource.
type Type struct {
	// Name is the canonical name, such as "KubeSpanPeerStatuses".
	Name string
	// Namespace is the namespace of the resources.
	Namespace string
	// Aliases are the names that users may type, in lower case. The first is the usual one.
	Aliases []string
	columns []column
	// sample is an empty spec.
	sample any
}

// column is a column of a type's table.
type column struct {
	heading string
	cell    func(spec any) string
}

// columnOf returns a column for specs of type S.
func columnOf[S any](heading string, cell func(S) string) column {
	return column{heading, func(spec any) string { return cell(spec.(S)) }}
}

// Headings returns the headings of the type's table: ID, VERSION, then the columns.
func (t *Type) Headings() []string {
	headings := []string{"ID", "VERSION"}
	for _, c := range t.columns {
		headings = append(headings, c.heading)
	}
	return headings
}

// Row returns the cells of a resource under Headings.
func (t *Type) Row(r Resource) []string {
	row := []string{r.ID, strconv.FormatUint(r.Version, 10)}
	for _, c := range t.columns {
		row = append(row, c.cell(r.Spec))
	}
	return row
}

// Lookup returns the type with an alias, in upper or lower case.
func Lookup(name string) (*Type, error) {
	var found []*Type
	for _, t := range Types {
		if slices.Contains(t.Aliases, strings.ToLower(name)) {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("no resource is called %q; there are: %s", name, strings.Join(names(Types), ", "))
	default:
		return nil, fmt.Errorf("%q is short for each of %s: name one", name, strings.Join(names(found), ", "))
	}
}

func names(types []*Type) []string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = t.Aliases[0]
	}
	return out
}

// jsonCell formats a list for a table as talosctl does: ["a","b"].
func jsonCell[T any](list []T) string {
	if len(list) == 0 {
		return "[]"
	}
	text, err := json.Marshal(list)
	if err != nil {
		return "?" // not reached: addresses always marshal
	}
	return string(text)
}
