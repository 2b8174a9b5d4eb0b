package patch

import "github.com/spanmesh/span/schema"

// rewrite changes the settings in the text of a config. It reports false for a text that cannot be
// edited in its format.
func rewrite(base schema.Source, before, after any) (text []byte, ok bool) {
	switch format := schema.FormatOf(base.Name); format {
	case schema.FormatYAML, schema.FormatJSON:
		return rewriteYAML(base.Data, format == schema.FormatJSON, before, after)
	default:
		return rewriteCUE(base, before, after)
	}
}

// fieldsOf returns the fields of a struct; nil of another value.
func fieldsOf(value any) map[string]any {
	fields, _ := value.(map[string]any)
	return fields
}

// itemsOf returns the elements of a list; nil of another value.
func itemsOf(value any) []any {
	items, _ := value.([]any)
	return items
}
