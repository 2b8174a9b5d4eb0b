package field

import (
	"fmt"
	"strings"

	"cuelang.org/go/cue"
	"github.com/agnivade/levenshtein"
)

// KindName returns the kinds in words, such as "string or struct".
func KindName(kind cue.Kind) string {
	return strings.ReplaceAll(strings.Trim(kind.String(), "()"), "|", " or ")
}

// Article returns the kinds in words with an article, such as "an int".
func Article(kind cue.Kind) string {
	name := KindName(kind)
	if kind == cue.NullKind {
		return name
	}
	if strings.ContainsRune("aeiou", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}

// QuoteAll returns the names in quotes, separated by commas.
func QuoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(quoted, ", ")
}

// Nearest returns the name that differs from word by at most two typing errors, or "".
func Nearest(word string, names []string) string {
	best, bestDistance := "", 3
	for _, name := range names {
		// The comparison takes a time that is the product of both lengths, and the word is anybody's.
		if len(word) > 2*len(name)+bestDistance {
			continue
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(name)); d < bestDistance && d < len(name) {
			best, bestDistance = name, d
		}
	}
	return best
}

// Alternatives returns the structs among the parts of a disjunction.
func Alternatives(v cue.Value) (structs []cue.Value) {
	v = cue.Dereference(v)
	op, parts := v.Expr()
	if op != cue.OrOp {
		if v.IncompleteKind() == cue.StructKind {
			structs = append(structs, v)
		}
		return structs
	}
	for _, part := range parts {
		structs = append(structs, Alternatives(part)...)
	}
	return structs
}
