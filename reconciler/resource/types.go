package resource

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/human"
)

// Types are all types of resources, in the order in which they are listed.
var Types = []*Type{Identities, PeerSpecs, PeerStatuses, Paths, Endpoints, Affiliates, Members, MeshNames, MachineConfigs, Conditions, HealthStates, EventType}

// Type describes one type of resource. It has the names and columns of talosctl's where
// talosctl has the resource.
type Type struct {
	// Name is the canonical name, such as "KubeSpanPeerStatuses".
	Name string
	// Namespace is the namespace of the resources.
	Namespace string
	// Aliases are the names that users may type, in lower case. The first is the usual one. No two
	// types share one.
	Aliases []string
	columns []column
	// names returns the names of a resource by its spec, the usual one first; nil where only IDs
	// find resources.
	names func(spec any) []string
	// sample is an empty spec.
	sample any
}

// column is a column of a type's table.
type column struct {
	heading string
	cell    func(now time.Time, spec any) string
	// wide is set for a column that only wide tables have.
	wide bool
	// field is the path in the spec of what the column shows; "" where it is called as the heading.
	field string
}

// columnOf returns a column for specs of type S.
func columnOf[S any](heading string, cell func(S) string) column {
	return column{heading: heading, cell: func(_ time.Time, spec any) string { return cell(spec.(S)) }}
}

// ageOf returns a column with how long ago a time of specs of type S was.
func ageOf[S any](heading string, then func(S) time.Time) column {
	return column{heading: heading, cell: func(now time.Time, spec any) string { return human.Age(now, then(spec.(S))) }}
}

// wide returns a column that only wide tables have.
func wide(c column) column {
	c.wide = true
	return c
}

// shows returns a column whose heading is not the name of the field that it shows.
func shows(field string, c column) column {
	c.field = field
	return c
}

// namesOf returns a Type.names for specs of type S.
func namesOf[S any](names func(S) []string) func(spec any) []string {
	return func(spec any) []string { return names(spec.(S)) }
}

// Headings returns the headings of the type's table: ID, VERSION, then the columns.
func (t *Type) Headings() []string {
	headings := []string{"ID", "VERSION"}
	for _, c := range t.columns {
		headings = append(headings, c.heading)
	}
	return headings
}

// FieldOf returns the path in the spec of what the column with a heading shows; "" where there is
// none, or where the field is called as the heading. The heading may be in lower case, and without
// its spaces.
func (t *Type) FieldOf(heading string) string {
	for _, c := range t.columns {
		if Fold(c.heading) == Fold(heading) {
			return c.field
		}
	}
	return ""
}

// Fold returns a name in lower case and without what separates its words: the same for "LAST SEEN",
// "last-seen" and "lastSeen".
func Fold(name string) string {
	return strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "").Replace(name))
}

// Wide returns the indices of the headings that only wide tables have.
func (t *Type) Wide() (wide []int) {
	for i, c := range t.columns {
		if c.wide {
			wide = append(wide, len(t.Headings())-len(t.columns)+i)
		}
	}
	return wide
}

// Row returns the cells of a resource under Headings, with ages as of now.
func (t *Type) Row(now time.Time, r Resource) []string {
	row := []string{r.ID, strconv.FormatUint(r.Version, 10)}
	for _, c := range t.columns {
		row = append(row, c.cell(now, r.Spec))
	}
	return row
}

// Lookup returns the type with an alias, in upper or lower case.
func Lookup(name string) (*Type, error) {
	var usual, all []string
	for _, t := range Types {
		if slices.Contains(t.Aliases, strings.ToLower(name)) {
			return t, nil
		}
		usual, all = append(usual, t.Aliases[0]), append(all, t.Aliases...)
	}
	text := fmt.Sprintf("no resource is called %q", name)
	if near := nearest(name, all); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return nil, fmt.Errorf("%s; there are: %s", text, strings.Join(usual, ", "))
}

// addressCell formats an address for a table, and none as an empty cell.
func addressCell(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
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
