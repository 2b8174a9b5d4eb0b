package files

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"
	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
)

// piece is a name or a value in the text of a file.
type piece struct {
	// line counts from 1, from and to are bytes in that line, from 0.
	line, from, to int
	// text is the value, without quotes.
	text string
	// show allows the piece to be printed.
	show bool
	// secret is set for a value of a field with @secret.
	secret bool
}

// scan is what is known of the text of a file.
type scan struct {
	pieces []piece
	// parsed is false for a file with a syntax error, which has no pieces.
	parsed bool
}

// scan returns the pieces of a file.
func (s *Set) scan(name string) scan {
	if known, ok := s.scans[name]; ok {
		return known
	}
	var found scan
	if schema.FormatOf(name) == schema.FormatYAML {
		found.pieces, found.parsed = scanYAML(s.text(name))
	} else {
		found.pieces, found.parsed = scanCUE(s.text(name))
	}
	s.scans[name] = found
	return found
}

// longName is the length from which a name could be a key without quotes, in bytes.
const longName = 32

// ShowsName reports whether the name of a field may be printed. Names of the schema may, and other
// names that are short and have no special characters. Below a field with @secret, a name that is
// not a plain word may be the secret.
func ShowsName(chain []string, name string) bool {
	if field.IsName(name) {
		return true
	}
	special := strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.$#", r)
	})
	plain := !strings.ContainsFunc(name, func(r rune) bool { return r < 'a' || r > 'z' })
	return len(name) < longName && !special && (plain || !isSecret(chain))
}

// IsKey reports whether a text is a key of 32 bytes.
func IsKey(text string) bool {
	_, err := schema.ParseKey(text)
	return err == nil
}

// isSecret reports whether a chain of labels leads to a field with @secret, or to a field below one
// that the schema does not have.
func isSecret(chain []string) bool {
	if field.ShowsBelow(chain) {
		return false
	}
	for end := len(chain); end > 0; end-- {
		if field.EndsAtSecret(chain[:end]) {
			return true
		}
	}
	return false
}

// cueScanner collects the pieces of a CUE or JSON file.
type cueScanner struct {
	pieces []piece
	// bare is set inside of an expression at the root of a file that is not a struct. The file
	// may have nothing but a secret.
	bare bool
}

// hasStruct reports whether an expression has a struct, as machine.#Machine & {…} has.
func hasStruct(e ast.Expr) (found bool) {
	ast.Walk(e, func(n ast.Node) bool {
		_, isStruct := n.(*ast.StructLit)
		found = found || isStruct
		return !found
	}, nil)
	return found
}

func scanCUE(text []byte) ([]piece, bool) {
	file, err := parser.ParseFile("", text, parser.ParseComments)
	if err != nil {
		return nil, false
	}
	c := &cueScanner{}
	c.decls(nil, file.Decls)
	return c.pieces, true
}

func (c *cueScanner) add(n ast.Node, text string, show, secret bool) {
	pos, end := n.Pos(), n.End()
	if !pos.IsValid() || !end.IsValid() {
		return
	}
	p := piece{line: pos.Line(), from: pos.Column() - 1, to: pos.Column() - 1 + end.Offset() - pos.Offset(), text: text, show: show, secret: secret}
	if end.Line() != pos.Line() {
		p.show = false // a text of several lines is never printed
	}
	c.pieces = append(c.pieces, p)
}

func (c *cueScanner) decls(chain []string, decls []ast.Decl) {
	for _, d := range decls {
		switch d := d.(type) {
		case *ast.Package:
			c.add(d, "", true, false)
		case *ast.ImportDecl:
			c.add(d, "", true, false)
		case *ast.Field:
			c.field(chain, d)
		case *ast.EmbedDecl:
			c.bare = len(chain) == 0 && !hasStruct(d.Expr)
			c.expr(chain, d.Expr)
			c.bare = false
		case *ast.Comprehension:
			for _, clause := range d.Clauses {
				c.anything(nil, clause)
			}
			c.expr(chain, d.Value)
		case *ast.LetClause:
			c.expr(nil, d.Expr)
		default:
			c.anything(nil, d)
		}
	}
}

func (c *cueScanner) field(chain []string, f *ast.Field) {
	name, _, err := ast.LabelName(f.Label)
	if err != nil {
		c.anything(nil, f.Label)
		c.expr(nil, f.Value)
		return
	}
	show := ShowsName(chain, name)
	c.add(f.Label, name, show, !show)
	c.expr(append(chain[:len(chain):len(chain)], name), f.Value)
}

func (c *cueScanner) expr(chain []string, e ast.Expr) {
	switch e := e.(type) {
	case *ast.StructLit:
		c.decls(chain, e.Elts)
	case *ast.ListLit:
		for _, item := range e.Elts {
			c.expr(append(chain[:len(chain):len(chain)], field.Element), item)
		}
	case *ast.ParenExpr:
		c.expr(chain, e.X)
	case *ast.BinaryExpr:
		c.expr(chain, e.X)
		c.expr(chain, e.Y)
	case *ast.UnaryExpr:
		c.expr(chain, e.X)
	case nil:
	default:
		c.anything(chain, e)
	}
}

// anything adds the identifiers and literals in a node.
func (c *cueScanner) anything(chain []string, n ast.Node) {
	secret := isSecret(chain)
	show := !secret && field.ShowsBelow(chain)
	ast.Walk(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			known := field.IsName(n.Name) && !secret
			c.add(n, n.Name, show || known || !secret && !c.bare && len(n.Name) < longName, secret || c.bare && !known)
		case *ast.BasicLit:
			if n.Kind != token.STRING {
				c.add(n, n.Value, show || n.Kind == token.TRUE || n.Kind == token.FALSE || n.Kind == token.NULL, secret)
				return false
			}
			text, err := literal.Unquote(n.Value)
			if err != nil {
				text = strings.Trim(n.Value, "\"'#")
			}
			c.add(n, text, show && (!IsKey(text) || field.IsKey(chain)), secret)
		case *ast.StructLit:
			c.decls(chain, n.Elts)
			return false
		case *ast.CommentGroup:
			return false
		}
		return true
	}, nil)
}

// yamlScanner collects the pieces of a YAML file.
type yamlScanner struct {
	lines  [][]byte
	pieces []piece
}

func scanYAML(text []byte) ([]piece, bool) {
	text = withDocumentStarts(text)
	y := &yamlScanner{lines: bytes.Split(text, []byte("\n"))}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if err != nil {
			return y.pieces, err.Error() == "EOF"
		}
		y.node(nil, &document)
	}
}

func (y *yamlScanner) node(chain []string, n *yaml.Node) {
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		y.pieces = append(y.pieces, piece{text: n.Tag, secret: true})
	}
	if n.Anchor != "" {
		y.pieces = append(y.pieces, piece{text: n.Anchor, secret: isSecret(chain)})
	}
	switch n.Kind {
	case yaml.DocumentNode:
		for _, inner := range n.Content {
			y.node(chain, inner)
		}
	case yaml.SequenceNode:
		for _, inner := range n.Content {
			y.node(append(chain[:len(chain):len(chain)], field.Element), inner)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i].Value
			show := ShowsName(chain, name)
			y.add(n.Content[i], show, !show)
			y.node(append(chain[:len(chain):len(chain)], name), n.Content[i+1])
		}
	case yaml.ScalarNode:
		secret := isSecret(chain)
		show := field.ShowsBelow(chain) && (!IsKey(n.Value) || field.IsKey(chain)) || n.ShortTag() == "!!bool" || n.ShortTag() == "!!null"
		y.add(n, show && !secret, secret)
	}
}

func (y *yamlScanner) add(n *yaml.Node, show, secret bool) {
	p := piece{line: n.Line, text: n.Value, show: show, secret: secret}
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
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		if bytes.HasPrefix(line, []byte(n.Value)) {
			return len(n.Value)
		}
		return 0
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 || len(line) == 0 {
		return 0
	}
	quote := line[0]
	if quote != '"' && quote != '\'' {
		return 0
	}
	for i := 1; i < len(line); i++ {
		switch {
		case quote == '"' && line[i] == '\\':
			i++
		case line[i] == quote && quote == '\'' && i+1 < len(line) && line[i+1] == quote:
			i++
		case line[i] == quote:
			return i + 1
		}
	}
	return 0
}
