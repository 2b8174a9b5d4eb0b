package patch

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	isQuoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle
	isBlock  = yaml.LiteralStyle | yaml.FoldedStyle
)

func isFlow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

// isBlockCollection reports whether a node is a mapping or a sequence of lines.
func isBlockCollection(n *yaml.Node) bool {
	return (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) && !isFlow(n)
}

// start returns where a node begins, with its anchor and tag.
func (t *text) start(n *yaml.Node) (int, bool) { return t.at(n.Line, n.Column) }

// content returns where a node begins without its anchor and tag.
func (t *text) content(n *yaml.Node) (int, bool) {
	at, ok := t.start(n)
	for ok && at < len(t.data) && n.Kind != yaml.AliasNode && (t.data[at] == '&' || t.data[at] == '!') {
		end := at
		for end < len(t.data) && !bytes.ContainsRune([]byte(" \t\r\n,[]{}"), rune(t.data[end])) {
			end++
		}
		at = t.skip(end, " \t")
	}
	return at, ok
}

// column returns the column, counted from 0, of the names of a mapping or of the dashes of a
// sequence. A node with an anchor has the anchor's.
func (t *text) column(n *yaml.Node) int {
	if len(n.Content) == 0 || n.Anchor == "" && n.Style&yaml.TaggedStyle == 0 {
		return n.Column - 1
	}
	first := n.Content[0]
	if n.Kind == yaml.MappingNode {
		return first.Column - 1
	}
	if at, ok := t.start(first); ok {
		return len([]rune(strings.TrimRight(t.lead(at), " "))) - 1
	}
	return n.Column - 1
}

// end returns where a node ends. Indent is the column, counted from 0, of what it is in: lines of
// text that are indented deeper belong to it.
func (t *text) end(n *yaml.Node, indent int) (int, bool) {
	at, ok := t.content(n)
	if !ok {
		return 0, false
	}
	switch {
	case n.Kind == yaml.AliasNode:
		return at + 1 + len(n.Value), t.has(at, "*"+n.Value)
	case n.Kind == yaml.ScalarNode:
		return t.scalarEnd(n, at, indent)
	case isFlow(n):
		return t.flowEnd(n, at)
	case len(n.Content) == 0:
		return 0, false
	default:
		return t.end(n.Content[len(n.Content)-1], t.column(n))
	}
}

// has reports whether a word is at a place.
func (t *text) has(at int, word string) bool { return bytes.HasPrefix(t.data[at:], []byte(word)) }

func (t *text) scalarEnd(n *yaml.Node, at, indent int) (int, bool) {
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return t.quotedEnd(at, '"', '\\')
	case n.Style&yaml.SingleQuotedStyle != 0:
		return t.quotedEnd(at, '\'', '\'')
	case n.Style&isBlock != 0:
		return t.blockEnd(at, indent), true
	default:
		return t.plainEnd(at, n.Value)
	}
}

// quotedEnd returns where a text in quotes ends. Escape takes the character after it along; in
// single quotes it is a quote itself.
func (t *text) quotedEnd(at int, quote, escape byte) (int, bool) {
	if at >= len(t.data) || t.data[at] != quote {
		return 0, false
	}
	for i := at + 1; i < len(t.data); i++ {
		switch {
		case t.data[i] == escape && i+1 < len(t.data) && (escape != quote || t.data[i+1] == quote):
			i++
		case t.data[i] == quote:
			return i + 1, true
		}
	}
	return 0, false
}

// blockEnd returns where the last line of a literal or folded text ends that is not empty. Its
// header is at a place.
func (t *text) blockEnd(at, indent int) int {
	end := at + len(strings.TrimRight(t.rest(at), " \t"))
	for line := t.line(at) + 1; line < len(t.starts); line++ {
		from := t.starts[line]
		if from == len(t.data) {
			break
		}
		rest := t.rest(from)
		if strings.Trim(rest, " \t") == "" {
			continue
		}
		if len(rest)-len(strings.TrimLeft(rest, " ")) <= indent {
			break
		}
		end = from + len(rest)
	}
	return end
}

// plainEnd returns where a text without quotes ends, which may be on several lines.
func (t *text) plainEnd(at int, value string) (int, bool) {
	for len(value) > 0 {
		if value[0] == ' ' || value[0] == '\n' {
			value = strings.TrimLeft(value, " \n")
			after := t.skip(at, " \t\r\n")
			if after == at {
				return 0, false
			}
			at = after
			continue
		}
		_, size := utf8.DecodeRuneInString(value)
		if !t.has(at, value[:size]) {
			return 0, false
		}
		at, value = at+size, value[size:]
	}
	return at, true
}

// flowEnd returns where a collection in brackets ends.
func (t *text) flowEnd(n *yaml.Node, at int) (int, bool) {
	closing := map[yaml.Kind]byte{yaml.MappingNode: '}', yaml.SequenceNode: ']'}[n.Kind]
	if at >= len(t.data) || t.data[at] != closing-2 {
		return 0, false
	}
	at++
	if len(n.Content) > 0 {
		var ok bool
		if at, ok = t.end(n.Content[len(n.Content)-1], 0); !ok {
			return 0, false
		}
	}
	for {
		at = t.skip(at, " \t\r\n,:")
		switch {
		case at >= len(t.data):
			return 0, false
		case t.data[at] == closing:
			return at + 1, true
		case t.data[at] != '#':
			return 0, false
		}
		at = t.next(at)
	}
}
