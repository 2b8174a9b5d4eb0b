package patch

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// splice replaces a part of a text, in bytes.
type splice struct {
	from, to int
	text     string
}

// spliced returns a text with the splices, which may be in any order. What is inserted at one place
// stays in its order. It reports false if two splices overlap.
func spliced(data []byte, splices []splice) ([]byte, bool) {
	slices.SortStableFunc(splices, func(a, b splice) int { return cmp.Or(a.from-b.from, a.to-b.to) })
	var out []byte
	at := 0
	for _, s := range splices {
		if s.from < at || s.to < s.from {
			return nil, false
		}
		out = append(append(out, data[at:s.from]...), s.text...)
		at = s.to
	}
	return append(out, data[at:]...), true
}

// text is a text with its lines.
type text struct {
	data []byte
	// starts are where the lines begin. The last one is empty if the text ends with a line break.
	starts []int
	// lineBreak is that of the first line.
	lineBreak string
}

func newText(data []byte) *text {
	t := &text{data: data, starts: []int{0}, lineBreak: "\n"}
	for i := 0; i < len(data); {
		if n := breakLength(data[i:]); n > 0 {
			if len(t.starts) == 1 {
				t.lineBreak = string(data[i : i+n])
			}
			i += n
			t.starts = append(t.starts, i)
			continue
		}
		i++
	}
	return t
}

// breaks are the line breaks of YAML 1.1, which the parser counts.
var breaks = []string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029"}

// breakLength returns the length of the line break that a text begins with; 0 if it begins with none.
func breakLength(data []byte) int {
	if len(data) == 0 || data[0] != '\n' && data[0] != '\r' && data[0] < utf8.RuneSelf {
		return 0
	}
	for _, one := range breaks {
		if bytes.HasPrefix(data, []byte(one)) {
			return len(one)
		}
	}
	return 0
}

// at returns the place of a line and a column, which count from 1. A column is a character.
func (t *text) at(line, column int) (int, bool) {
	if line < 1 || line > len(t.starts) {
		return 0, false
	}
	i := t.starts[line-1]
	for range column - 1 {
		if i >= len(t.data) {
			return 0, false
		}
		_, size := utf8.DecodeRune(t.data[i:])
		i += size
	}
	return i, true
}

// line returns the line, counted from 0, that a place is in.
func (t *text) line(at int) int {
	i, found := slices.BinarySearch(t.starts, at)
	if found {
		return i
	}
	return i - 1
}

// next returns where the line after a place begins: the end of the text for the last line.
func (t *text) next(at int) int {
	if line := t.line(at) + 1; line < len(t.starts) {
		return t.starts[line]
	}
	return len(t.data)
}

// rest returns the rest of a line from a place on, without its line break.
func (t *text) rest(at int) string {
	line := t.data[at:t.next(at)]
	for i := range line {
		if breakLength(line[i:]) == len(line)-i {
			return string(line[:i])
		}
	}
	return string(line)
}

// lead returns the part of a line before a place.
func (t *text) lead(at int) string { return string(t.data[t.starts[t.line(at)]:at]) }

// opensLine reports whether only white space is before a place in its line.
func (t *text) opensLine(at int) bool { return strings.Trim(t.lead(at), " \t") == "" }

// insertion returns the splice that puts whole lines after the line of a place. Lines end with a
// line break.
func (t *text) insertion(at int, lines string) splice {
	place := t.next(at)
	if place == len(t.data) && place > 0 && t.starts[len(t.starts)-1] != place {
		// The last line has no end.
		return splice{place, place, t.lineBreak + strings.TrimSuffix(lines, t.lineBreak)}
	}
	return splice{place, place, lines}
}

// skip returns the first place from at on that has none of these characters.
func (t *text) skip(at int, characters string) int {
	for at < len(t.data) && strings.IndexByte(characters, t.data[at]) >= 0 {
		at++
	}
	return at
}

// unit returns what the first line of a text that is indented is indented with; "" if none is.
func (t *text) unit() string {
	for _, at := range t.starts {
		if rest := t.rest(at); strings.Trim(rest, " \t") != "" {
			if indent := rest[:len(rest)-len(strings.TrimLeft(rest, " \t"))]; indent != "" {
				return indent
			}
		}
	}
	return ""
}
