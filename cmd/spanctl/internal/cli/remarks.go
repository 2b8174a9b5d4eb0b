package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spanmesh/span/schema"
)

// remarks is a block of comments that `spanctl edit` puts before a text. Its first and its last
// line mark it. The zero value is no block.
type remarks struct {
	lines []string
	// prefix begins each line but the first and the last.
	prefix string
	// end ends each line, as it does in the text.
	end string
}

// byteOrderMark begins some files. Comments before it would not be comments.
const byteOrderMark = "\ufeff"

// remarksOn returns the block with the faults of a text. The lines that it names are those below
// the block.
func remarksOn(one schema.Source, problems schema.Problems) remarks {
	r := remarks{end: "\n"}
	if bytes.Contains(one.Data, []byte("\r\n")) {
		r.end = "\r\n"
	}
	mark := commentMark(one.Name)
	r.prefix = mark + "| "
	first, last := markers(mark, one.Data)
	// How many lines the block has does not depend on the numbers in it.
	height := len(r.block(first, last, problems))
	shifted := slices.Clone(problems)
	for i := range shifted {
		// A problem may name the file from the working directory.
		if filepath.Base(shifted[i].File) == filepath.Base(one.Name) && shifted[i].Line > 0 {
			shifted[i].Line += height
		}
	}
	r.lines = r.block(first, last, shifted)
	return r
}

// commentMark returns what begins a line of the block. JSON has no comments; the block has to be
// removed there.
func commentMark(name string) string {
	return cmp.Or(schema.FormatOf(name).CommentMark(), "//")
}

// markers returns the first and the last line of a block for a text that has neither.
func markers(mark string, text []byte) (first, last string) {
	for n := 1; ; n++ {
		name := "spanctl edit"
		if n > 1 {
			name = fmt.Sprintf("spanctl edit %d", n)
		}
		first = mark + " --- " + name + ": the config is not valid; these lines are left out ---"
		last = mark + " --- " + name + ": end ---"
		if !bytes.Contains(text, []byte(first)) && !bytes.Contains(text, []byte(last)) {
			return first, last
		}
	}
}

func (r remarks) block(first, last string, problems schema.Problems) []string {
	lines := []string{first}
	for line := range strings.Lines(plainLines(problems.Explain())) {
		lines = append(lines, strings.TrimRight(r.prefix+line, " \r\n"))
	}
	return append(lines, last)
}

// before returns a text with the block before it.
func (r remarks) before(text []byte) []byte {
	if len(r.lines) == 0 {
		return text
	}
	text, marked := bytes.CutPrefix(text, []byte(byteOrderMark))
	var out []byte
	if marked {
		out = append(out, byteOrderMark...)
	}
	out = append(out, strings.Join(r.lines, r.end)+r.end...)
	return append(out, text...)
}

// without returns a text that was saved without the block. Everything that is not a line of the
// block, in its order and between its marks, is the user's. Where an editor replaced a word
// everywhere, a line of the block still has its prefix.
func (r remarks) without(text []byte) []byte {
	if len(r.lines) == 0 {
		return text
	}
	text, marked := bytes.CutPrefix(text, []byte(byteOrderMark))
	lines := slices.Collect(bytes.Lines(text))
	var out []byte
	if marked {
		out = append(out, byteOrderMark...)
	}
	from, to := r.find(lines)
	next := 0 // the line of the block that may follow
	for i, line := range lines {
		text := trimEnd(line)
		at := slices.Index(r.lines[next:], text)
		if at < 0 && next < len(r.lines) && strings.HasPrefix(text, r.prefix) {
			at = 0
		}
		if i < from || i > to || at < 0 {
			out = append(out, line...)
			continue
		}
		next += at + 1
	}
	return out
}

// find returns the first and the last line of the block. Where the user removed one of its marks,
// it is as long as it was.
func (r remarks) find(lines [][]byte) (from, to int) {
	last := len(r.lines) - 1
	from = slices.IndexFunc(lines, func(line []byte) bool { return trimEnd(line) == r.lines[0] })
	to = slices.IndexFunc(lines, func(line []byte) bool { return trimEnd(line) == r.lines[last] })
	switch {
	case from < 0 && to < 0:
		return 0, -1
	case from < 0:
		return max(0, to-last), to
	case to < from:
		return from, from + last
	default:
		return from, to
	}
}

// trimEnd returns a line without its end: editors change it.
func trimEnd(line []byte) string { return strings.TrimRight(string(line), " \t\r\n") }
