package files

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema/internal/field"
)

// yamlScanner collects the pieces of a YAML file.
type yamlScanner struct {
	lines  [][]byte
	pieces []piece
}

// scanYAML returns the pieces of a YAML file. It reports false for a syntax error.
func scanYAML(text []byte) ([]piece, bool) {
	text = withDocumentStarts(text)
	y := &yamlScanner{lines: bytes.Split(text, []byte("\n"))}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if err != nil {
			return y.pieces, errors.Is(err, io.EOF)
		}
		y.node(nil, &document)
	}
}

// node adds the pieces of a node below a chain of labels.
func (y *yamlScanner) node(chain []string, n *yaml.Node) {
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		y.pieces = append(y.pieces, piece{text: n.Tag, secret: true})
	}
	if n.Anchor != "" {
		y.pieces = append(y.pieces, piece{text: n.Anchor, secret: isSecret(chain)})
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i].Value
			show := ShowsName(chain, name)
			y.add(n.Content[i], show, !show)
			y.node(append(chain[:len(chain):len(chain)], name), n.Content[i+1])
		}
	case yaml.SequenceNode:
		for _, inner := range n.Content {
			y.node(append(chain[:len(chain):len(chain)], field.Element), inner)
		}
	case yaml.ScalarNode:
		y.scalar(chain, n)
	default:
		for _, inner := range n.Content {
			y.node(chain, inner)
		}
	}
}

func (y *yamlScanner) scalar(chain []string, n *yaml.Node) {
	secret := isSecret(chain)
	show := field.ShowsBelow(chain) && (!IsKey(n.Value) || field.IsKey(chain))
	switch n.ShortTag() {
	case "!!bool", "!!null":
		show = true
	}
	y.add(n, show && !secret, secret)
}

// add adds the piece of a scalar.
func (y *yamlScanner) add(n *yaml.Node, show, secret bool) {
	p := piece{line: n.Line, text: n.Value, show: show, secret: secret, literal: true}
	if n.Line < 1 || n.Line > len(y.lines) {
		return
	}
	line := y.lines[n.Line-1]
	for column := 1; column < n.Column && p.from < len(line); column++ {
		_, size := utf8.DecodeRune(line[p.from:])
		p.from += size
	}
	raw := rawScalar(line[p.from:], n)
	p.to, p.show = p.from+raw, show && raw > 0
	y.pieces = append(y.pieces, p)
}

// rawScalar returns the length of a scalar in its line, in bytes. It returns 0 for a scalar of
// several lines or one that does not begin there.
func rawScalar(line []byte, n *yaml.Node) int {
	const blocks, quotes = yaml.LiteralStyle | yaml.FoldedStyle, yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle
	switch {
	case n.Style&blocks != 0:
		return 0
	case n.Style&quotes != 0:
		return rawQuoted(line)
	case bytes.HasPrefix(line, []byte(n.Value)):
		return len(n.Value)
	default:
		return 0
	}
}

// rawQuoted returns the length of a string in quotes. It returns 0 if the string does not end in
// the line.
func rawQuoted(line []byte) int {
	for i := 1; i < len(line); i++ {
		switch {
		case line[0] == '"' && line[i] == '\\':
			i++
		case line[i] != line[0]:
		case line[0] == '\'' && bytes.HasPrefix(line[i+1:], []byte("'")):
			i++
		default:
			return i + 1
		}
	}
	return 0
}
