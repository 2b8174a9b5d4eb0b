package patch

import (
	"reflect"
	"slices"
)

// directive is the field of a strategic merge patch that says what happens to the struct around it.
const (
	directive        = "$patch"
	directiveDelete  = "delete"
	directiveReplace = "replace"
)

// merge returns a value with a strategic merge patch applied.
func merge(base any, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		if list, ok := patch.([]any); ok {
			return mergeLists(base, list)
		}
		return patch
	}
	out := map[string]any{}
	if before, ok := base.(map[string]any); ok && changes[directive] != directiveReplace {
		for name, value := range before {
			out[name] = value
		}
	}
	for name, change := range changes {
		one, isStruct := change.(map[string]any)
		switch {
		case name == directive:
		case change == nil, isStruct && one[directive] == directiveDelete:
			delete(out, name)
		default:
			out[name] = merge(out[name], change)
		}
	}
	return out
}

// mergeLists returns a list with the elements of a patch that it does not have; an empty one for an
// empty patch. An element with a name is merged with the element of that name, or removes it.
func mergeLists(base any, patch []any) any {
	out := []any{} // not nil, which is null
	if before, ok := base.([]any); ok && len(patch) > 0 {
		out = append(out, before...)
	}
	for _, item := range patch {
		change, named := item.(map[string]any)
		at := slices.IndexFunc(out, func(have any) bool {
			if one, ok := have.(map[string]any); ok && named && change["name"] != nil {
				return one["name"] == change["name"]
			}
			return reflect.DeepEqual(have, item)
		})
		switch {
		case named && change[directive] == directiveDelete:
			if at >= 0 {
				out = slices.Delete(out, at, at+1)
			}
		case at >= 0:
			out[at] = merge(out[at], item)
		default:
			out = append(out, merge(nil, item))
		}
	}
	return out
}
