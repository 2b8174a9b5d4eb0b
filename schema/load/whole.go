package load

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/files"
)

// checkSize returns a problem for a source that is longer than MaxSize.
func checkSize(sources []schema.Source) error {
	for _, one := range sources {
		if len(one.Data) > MaxSize {
			return schema.Problems{{File: one.Name, Reason: fmt.Sprintf("is %d bytes long", len(one.Data)),
				Want: fmt.Sprintf("a machine config of at most %d bytes", MaxSize)}}
		}
	}
	return nil
}

// checkEnds returns a problem for a source that ends in the middle of a value.
func checkEnds(sources []schema.Source) error {
	for _, one := range sources {
		if schema.FormatOf(one.Name) == schema.FormatJSON || !endsInWord(one.Data) {
			continue // JSON ends with a bracket
		}
		if schema.FormatOf(one.Name) == schema.FormatYAML && files.IsUTF16(one.Data) {
			continue // which is refused
		}
		return schema.Problems{{File: one.Name, Line: bytes.Count(one.Data, []byte("\n")) + 1,
			Column: len(one.Data) - bytes.LastIndexByte(one.Data, '\n'),
			Reason: "ends in the middle of a line, so it may be half-written", Want: "a line break at its end"}}
	}
	return nil
}

// endsInWord reports whether a text ends in what may be the beginning of a longer value: a file that
// was cut in "mtu: 1420" may end with 142. White space, brackets, quotes, true, false and comments
// are no such end.
func endsInWord(text []byte) bool {
	line := bytes.TrimLeft(text[bytes.LastIndexByte(text, '\n')+1:], " \t")
	if len(line) == 0 || bytes.HasPrefix(line, []byte("#")) || bytes.HasPrefix(line, []byte("//")) {
		return false
	}
	if bytes.IndexByte([]byte(" \t\r}])\"'`"), line[len(line)-1]) >= 0 {
		return false
	}
	words := bytes.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ':' })
	return len(words) > 0 && !slices.Contains([]string{"true", "false"}, string(words[len(words)-1]))
}
