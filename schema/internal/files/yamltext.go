package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	yamlnode "go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema"
)

// YAMLText returns the problem of a text that the YAML parser refuses without saying where, or takes
// in another encoding than the rest of spanctl. It returns nil for any other.
func YAMLText(name string, data []byte) *schema.Problem {
	if IsUTF16(data) {
		return &schema.Problem{File: name, Line: 1, Column: 1, Reason: "is UTF-16", Want: "UTF-8, such as `iconv -f UTF-16 -t UTF-8` makes"}
	}
	body := bytes.TrimPrefix(data, []byte("\ufeff"))
	for at := len(data) - len(body); at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		switch {
		case r == utf8.RuneError && size == 1:
			return located(name, data, at, "has a byte that is not UTF-8", "a text in UTF-8")
		case !isYAML(r):
			return located(name, data, at, fmt.Sprintf("has the character %U, which YAML does not have", r), "it left out, or as an escape in double quotes")
		}
		at += size
	}
	return unknownAnchor(name, data)
}

// IsUTF16 reports whether a text begins as one in UTF-16 does.
func IsUTF16(data []byte) bool {
	return bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff"))
}

// isYAML reports whether a text in YAML may have a character (YAML 1.2.2, production c-printable;
// the parser takes a byte order mark anywhere).
func isYAML(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= ' ' && r <= '~' || r == 0x85 ||
		r >= 0xa0 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000
}

// located returns a problem at an offset.
func located(name string, data []byte, at int, reason, want string) *schema.Problem {
	before := data[:at]
	return &schema.Problem{File: name, Line: bytes.Count(before, []byte("\n")) + 1, Column: at - bytes.LastIndexByte(before, '\n'), Reason: reason, Want: want}
}

var unknown = regexp.MustCompile(`^yaml: unknown anchor '(.*)' referenced$`)

// unknownAnchor returns the problem of an alias without an anchor. The parser reads line by line: the
// alias is in the last line of the shortest beginning in which it is found.
func unknownAnchor(name string, data []byte) *schema.Problem {
	anchor := firstUnknown(data)
	if anchor == "" {
		return nil
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	ends := make([]int, len(lines))
	end := 0
	for i, line := range lines {
		end += len(line)
		ends[i] = end
	}
	last := sort.Search(len(lines)-1, func(i int) bool { return firstUnknown(data[:ends[i]]) != "" })
	at := ends[last] - len(lines[last])
	return located(name, data, at+max(strings.Index(string(lines[last]), "*"+anchor), 0), "is an alias without an anchor before it", "the value itself, or an anchor such as &NAME at the value that it stands for")
}

// firstUnknown returns the name of the first alias without an anchor, or "".
func firstUnknown(data []byte) string {
	decoder := yamlnode.NewDecoder(bytes.NewReader(data))
	for {
		err := decoder.Decode(new(yamlnode.Node))
		if err == nil {
			continue
		}
		if found := unknown.FindStringSubmatch(err.Error()); found != nil && !errors.Is(err, io.EOF) {
			return found[1]
		}
		return ""
	}
}

// Mistagged returns the first scalar of a document that is not what its tag says, such as !!bool x, or
// nil. CUE takes some of them: !!bool yes is false for it.
func Mistagged(n *yamlnode.Node) *yamlnode.Node {
	if n.Kind == yamlnode.ScalarNode && n.Style&yamlnode.TaggedStyle != 0 && strings.HasPrefix(n.Tag, "!!") && n.Decode(new(any)) != nil {
		return n
	}
	for _, inner := range n.Content {
		if found := Mistagged(inner); found != nil {
			return found
		}
	}
	return nil
}

// MistaggedReason and MistaggedWant are the problem of such a scalar.
const (
	MistaggedReason = "is not what its tag says"
	MistaggedWant   = "it without the tag, such as true in place of !!bool yes"
)
