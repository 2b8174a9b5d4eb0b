package files

import (
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/spanmesh/span/schema/internal/field"
)

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

// scanCUE returns the pieces of a CUE or JSON file. It reports false for a syntax error.
func scanCUE(text []byte) ([]piece, bool) {
	file, err := parser.ParseFile("", text, parser.ParseComments)
	if err != nil {
		return nil, false
	}
	c := &cueScanner{}
	c.decls(nil, file.Decls)
	return c.pieces, true
}

// add adds the piece of a node.
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

// decls adds the pieces of declarations below a chain of labels.
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

// field adds the pieces of a field.
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

// expr adds the pieces of the value of a field.
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
			c.ident(n, show, secret)
		case *ast.BasicLit:
			c.literal(n, show && (n.Kind != token.STRING || !IsKey(textOf(n)) || field.IsKey(chain)), secret)
		case *ast.StructLit:
			c.decls(chain, n.Elts)
			return false
		case *ast.CommentGroup:
			return false
		}
		return true
	}, nil)
}

// ident adds an identifier. Outside of secrets, names of the schema and short names are shown.
func (c *cueScanner) ident(n *ast.Ident, show, secret bool) {
	known := field.IsName(n.Name)
	show = show || known || len(n.Name) < longName && !c.bare
	c.add(n, n.Name, show && !secret, secret || c.bare && !known)
}

// literal adds a literal.
func (c *cueScanner) literal(n *ast.BasicLit, show, secret bool) {
	switch n.Kind {
	case token.TRUE, token.FALSE, token.NULL:
		c.add(n, n.Value, true, false)
	default:
		c.add(n, textOf(n), show, secret)
		if last := len(c.pieces) - 1; last >= 0 {
			c.pieces[last].literal = true
		}
	}
}

// textOf returns the text of a literal, without quotes.
func textOf(n *ast.BasicLit) string {
	if n.Kind != token.STRING {
		return n.Value
	}
	if text, err := literal.Unquote(n.Value); err == nil {
		return text
	}
	return strings.Trim(n.Value, "\"'#") // a part of an interpolation
}
