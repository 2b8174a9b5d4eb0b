package load

import (
	"fmt"
	"slices"

	"cuelang.org/go/cue"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
	"github.com/spanmesh/span/schema/internal/files"
)

// maxListed is the number of fields up to which a problem lists all of them. A longer list is in
// the schema.
const maxListed = 8

// unknown returns the problem of a field that the schema does not have.
func (l *loader) unknown(path []string, v cue.Value) schema.Problem {
	name := path[len(path)-1]
	siblings := field.All()[field.Path(path[:len(path)-1])].Children
	if one, found := holder(v); found && len(path) == 1 && !l.picked {
		return l.unchosen([]string{name, one})
	}
	if len(path) == 1 && !l.picked && isConfig(v) {
		return l.unchosen(path)
	}
	p := schema.Problem{Reason: "unknown field", Want: "one of " + field.QuoteAll(siblings)}
	if len(siblings) > maxListed {
		p.Want = "a field that `spanctl schema` lists"
	}
	if near := field.Nearest(name, siblings); near != "" {
		p.Reason += fmt.Sprintf(", did you mean %q?", near)
		p.Want = ""
	} else if parent := field.Parent(name); parent != "" {
		p.Reason += fmt.Sprintf(", does it belong under %q?", parent)
	}
	return p
}

// holdsConfigs reports whether a path leads into one of several machine configs and none was picked.
func (l *loader) holdsConfigs(path []string) bool {
	if l.picked || len(path) < 3 {
		return false
	}
	_, known := field.All()[path[0]]
	return !known && slices.Contains(field.All()[""].Children, path[2])
}

// unchosen returns the problem of a config that must be picked, such as the one at path.
func (l *loader) unchosen(path []string) schema.Problem {
	p := schema.Problem{File: l.name, Path: l.dotted(path[:1]), Reason: "unknown field, which is a machine config of its own",
		Want: "one config, picked with `-e '" + l.expression(path) + "'`"}
	if len(path) > 1 {
		p.Reason = "unknown field, which holds machine configs"
		p.Want = "one of them, picked with -e, such as `-e '" + l.expression(path) + "'`"
	}
	return p
}

// expression returns the expression for a path, without names that may be secrets.
func (l *loader) expression(path []string) string {
	selectors := make([]cue.Selector, len(path))
	for i, name := range path {
		if !files.ShowsName(nil, name) {
			name = "NAME"
		}
		selectors[i] = cue.Str(name)
	}
	return cue.MakePath(selectors...).String()
}

// holder reports whether a value has machine configs by their names, and returns the first name.
func holder(v cue.Value) (name string, found bool) {
	it, err := v.Fields()
	if err != nil || !it.Next() {
		return "", false
	}
	return it.Selector().Unquoted(), isConfig(it.Value())
}

// isConfig reports whether a value has a section of a machine config.
func isConfig(v cue.Value) bool {
	for _, section := range []string{"machine", "cluster"} {
		if v.LookupPath(cue.ParsePath(section)).IncompleteKind()&cue.StructKind != 0 {
			return true
		}
	}
	return false
}
