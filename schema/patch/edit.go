package patch

import (
	"maps"
	"reflect"
	"slices"

	"github.com/spanmesh/span/schema"
)

// edit sets or removes one field of a config.
type edit struct {
	path []string
	// value is the new value. It is nil for a field to remove.
	value any
	// remove removes the field.
	remove bool
}

// edits returns the edits that lead from one value to another, each as deep as possible.
func edits(before, after any) (list []edit) {
	from, ok := before.(map[string]any)
	to, okay := after.(map[string]any)
	if !ok || !okay {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if _, stays := to[name]; !stays {
			list = append(list, edit{path: []string{name}, remove: true})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(to)) {
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

// rewrite changes the settings in the text of a config. It reports false for a text that cannot be
// edited in its format.
func rewrite(base schema.Source, before, after any) (text []byte, ok bool) {
	switch format := schema.FormatOf(base.Name); format {
	case schema.FormatYAML, schema.FormatJSON:
		return rewriteYAML(base.Data, format == schema.FormatJSON, before, after)
	default:
		return rewriteCUE(base, edits(before, after))
	}
}
