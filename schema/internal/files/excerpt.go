package files

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
)

// maxText is the length of the longest line that is shown, in bytes.
const maxText = 160

// quote sets the text and the caret of a problem from its line in a file.
func (s *Set) quote(p *schema.Problem, name string) {
	p.Text, p.Caret = "", 0
	lines := bytes.SplitN(s.text(name), []byte("\n"), p.Line+1)
	if p.Line < 1 || p.Line > len(lines) {
		return
	}
	text := strings.TrimRight(string(lines[p.Line-1]), "\r")
	if !utf8.ValidString(text) || len(text) > maxText || strings.ContainsFunc(text, unprintable) {
		return
	}
	p.Text, p.Caret = excerpt(text, s.shown(name, p.Line, text), p.Column-1)
}

// unprintable reports whether a character could upset a terminal.
func unprintable(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }

// extent is a part of a line, in bytes.
type extent struct{ from, to int }

// shown returns the parts of a line that may be printed, in their order.
func (s *Set) shown(name string, line int, text string) (extents []extent) {
	scanned := s.scan(name)
	if !scanned.parsed {
		return schemaWords(text)
	}
	for _, p := range scanned.pieces {
		if p.line == line && p.show && p.to <= len(text) && s.Conceal(text[p.from:p.to]) == text[p.from:p.to] {
			extents = append(extents, extent{p.from, p.to})
		}
	}
	slices.SortFunc(extents, func(a, b extent) int { return a.from - b.from })
	return extents
}

// schemaWords returns the words of a line that are names of the schema, true, false or null.
func schemaWords(text string) (extents []extent) {
	from := -1
	for i, r := range text + "\n" {
		if r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) {
			if from < 0 {
				from = i
			}
			continue
		}
		if from >= 0 {
			if word := text[from:i]; field.IsName(word) || word == "true" || word == "false" || word == "null" {
				extents = append(extents, extent{from, i})
			}
			from = -1
		}
	}
	return extents
}

// punctuation is shown although it is not in an extent.
const punctuation = " \t{}[](),:;&|!?*=<>~+-.\"'"

// segment is a part of a line, printed as it is or replaced.
type segment struct {
	extent
	hidden bool
}

// excerpt returns a line in which everything outside of extents is replaced, except punctuation.
// Comments at its end are left out. Caret is the place of offset in it.
func excerpt(line string, extents []extent, offset int) (text string, caret int) {
	var b strings.Builder
	for _, one := range segments(line, extents) {
		if one.from <= offset {
			caret = b.Len()
			if !one.hidden {
				caret += min(offset, one.to) - one.from
			}
		}
		if one.hidden {
			b.WriteString(schema.Hidden)
		} else {
			b.WriteString(line[one.from:one.to])
		}
	}
	return strings.TrimRight(b.String(), " \t"), caret
}

// segments returns the parts of a line: the extents, and between them punctuation and what is hidden.
func segments(line string, extents []extent) (list []segment) {
	at := 0
	for _, e := range append(extents, extent{len(line), len(line)}) {
		if e.from < at {
			continue
		}
		gap := line[at:e.from]
		inner := strings.Trim(gap, punctuation)
		from := at + strings.Index(gap, inner)
		list = append(list, segment{extent: extent{at, from}})
		switch isLast := e.from == len(line); {
		case isLast && (strings.HasPrefix(inner, "//") || strings.HasPrefix(inner, "#")):
			return list // a comment
		case inner != "":
			list = append(list, segment{extent{from, from + len(inner)}, true})
		}
		list = append(list, segment{extent: extent{from + len(inner), e.from}}, segment{extent: e})
		at = e.to
	}
	return list
}
