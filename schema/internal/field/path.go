package field

import (
	"strconv"
	"strings"

	"cuelang.org/go/cue"
)

// Element is the path segment of the elements of a list.
const Element = "[]"

// Join returns the path of a field below another.
func Join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Path returns the path in the table for the path of a value: every list index becomes [Element].
func Path(path []string) string {
	general := make([]string, len(path))
	for i, part := range path {
		general[i] = part
		if _, err := strconv.Atoi(part); err == nil {
			general[i] = Element
		}
	}
	return strings.Join(general, ".")
}

// Parse returns the path in the table for a path in CUE's notation: a.b[0].c.
func Parse(path string) string {
	before, rest, found := strings.Cut(path, "[")
	if !found {
		return path
	}
	_, after, _ := strings.Cut(rest, "]")
	return before + "." + Element + after
}

// Dotted returns a path in CUE's notation: a.b[0].c.
func Dotted(path []string) string {
	var b strings.Builder
	for i, part := range path {
		switch _, err := strconv.Atoi(part); {
		case err == nil:
			b.WriteString("[" + part + "]")
		case i > 0:
			b.WriteString("." + part)
		default:
			b.WriteString(part)
		}
	}
	return b.String()
}

// Selectors returns a path for lookups in a cue.Value.
func Selectors(path []string) cue.Path {
	out := make([]cue.Selector, len(path))
	for i, part := range path {
		if index, err := strconv.Atoi(part); err == nil && index >= 0 {
			out[i] = cue.Index(index)
		} else {
			out[i] = cue.Str(part)
		}
	}
	return cue.MakePath(out...)
}

// Lookup returns a dotted path of field names for lookups in a cue.Value. It needs no parser.
func Lookup(path string) cue.Path { return Selectors(strings.Split(path, ".")) }
