package files

import (
	"regexp"
	"slices"
	"strings"

	"cuelang.org/go/cue/literal"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
)

// Computed stands for a value that a CUE file computes. It may be made of a secret, so that no rule
// could find it.
const Computed = "(computed)"

// IsWritten reports whether a scalar may be shown as a text, since a file has it as a literal, or a tag
// as its value, or since no file computes. A part of a literal is none.
func (s *Set) IsWritten(text string) bool {
	text = numberOf(text)
	return !s.computes() || s.has(func(p piece) bool { return p.literal && numberOf(p.text) == text }) ||
		slices.ContainsFunc(s.tags, func(tag string) bool {
			_, value, _ := strings.Cut(tag, "=")
			return numberOf(value) == text
		})
}

// numberOf returns a number in one notation, without its sign; other texts as they are.
func numberOf(text string) string {
	var number literal.NumInfo
	if literal.ParseNum(strings.TrimPrefix(text, "-"), &number) != nil {
		return text
	}
	return number.String()
}

// computes reports whether a file may compute.
func (s *Set) computes() bool {
	for name := range s.texts {
		if schema.FormatOf(name) == schema.FormatCUE {
			return true
		}
	}
	return s.Foreign
}

// has reports whether a file has a piece.
func (s *Set) has(match func(piece) bool) bool {
	for name := range s.texts {
		if slices.ContainsFunc(s.scan(name).pieces, match) {
			return true
		}
	}
	return false
}

// quoted is a text in quotes.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// withoutComputed returns a message of CUE in which texts in quotes are replaced that no file has. Where
// a file may make messages by error(), only those are left that it has as they are.
func (s *Set) withoutComputed(message string) string {
	if !s.computes() {
		return message
	}
	if s.has(func(p piece) bool { return !p.literal && strings.Trim(p.text, "_") == "error" }) && !s.IsWritten(message) {
		return "is refused, in words that are computed"
	}
	return quoted.ReplaceAllStringFunc(message, func(q string) string {
		inner := q[1 : len(q)-1]
		if len(inner) < 2 || inner == schema.Hidden || field.IsName(inner) || s.has(func(p piece) bool { return p.text == inner }) {
			return q
		}
		return `"` + Computed + `"`
	})
}
