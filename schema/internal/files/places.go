package files

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"
	yamlnode "go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
)

// Place is where a file has a secret as a text.
type Place struct {
	// Path is that of the field with @secret; "[]" stands for each element of a list.
	Path string
	// From and To are the extent of the text in the file in bytes, without its quotes.
	From, To int
}

// maxPlain is the size of the largest file in which places are looked for, in bytes. It bounds how deep
// a file may nest, for parsers that recurse.
const maxPlain = 256 << 10

// Places returns where a file has secrets as texts, if it is plain data: nothing in it can be made of
// a secret. Else it returns a problem: for what CUE computes or checks, except that the file may be
// machine.#Machine & {…} of the schema's package, for anchors and aliases of YAML, and for a text that
// is written with escapes.
func Places(one schema.Source) ([]Place, *schema.Problem) {
	p := &places{name: one.Name, text: one.Data}
	switch {
	case len(one.Data) > maxPlain:
		p.refuse(token.NoPos, "is larger than 256 KiB")
	case schema.FormatOf(one.Name) == schema.FormatYAML:
		p.yaml(withDocumentStarts(one.Data))
	default:
		file, err := parser.ParseFile(one.Name, one.Data)
		if err != nil {
			p.refuse(token.NoPos, "is not valid CUE")
			break
		}
		p.decls(nil, file.Decls)
	}
	return p.found, p.problem
}

// places looks for the places of a file.
type places struct {
	name    string
	text    []byte
	found   []Place
	problem *schema.Problem
}

// refuse keeps the first problem. The file's lines are not quoted.
func (p *places) refuse(pos token.Pos, reason string) {
	if p.problem != nil {
		return
	}
	p.problem = &schema.Problem{File: p.name, Reason: reason}
	if pos.IsValid() {
		p.problem.Line, p.problem.Column = pos.Line(), pos.Column()
	}
}

const (
	computes = "is computed, or checks another value"
	escaped  = "is not written as it is"
)

// isSecretField reports whether a chain of labels from the root is that of a field with @secret.
func isSecretField(chain []string) bool { return field.All()[strings.Join(chain, ".")].Secret }

func below(chain []string, name string) []string { return append(chain[:len(chain):len(chain)], name) }

// decls looks through the declarations of a struct.
func (p *places) decls(chain []string, decls []ast.Decl) {
	for _, d := range decls {
		switch d := d.(type) {
		case *ast.Package, *ast.CommentGroup:
		case *ast.ImportDecl:
			for _, spec := range d.Specs {
				if path := pathOf(spec); path != schema.Package && !strings.HasPrefix(path, schema.Package+":") {
					p.refuse(spec.Pos(), "imports what is not the schema")
				}
			}
		case *ast.Field:
			_, aliased := d.Label.(*ast.Alias)
			name, _, err := ast.LabelName(d.Label)
			if err != nil || aliased || d.Alias != nil || d.Constraint != token.ILLEGAL || len(d.Attrs) > 0 {
				p.refuse(d.Pos(), computes)
				return
			}
			p.expr(below(chain, name), d.Value)
		case *ast.EmbedDecl:
			p.root(chain, d.Expr)
		default:
			p.refuse(d.Pos(), computes)
		}
	}
}

// root looks through what is embedded in a struct, such as the braces around a file.
func (p *places) root(chain []string, e ast.Expr) {
	switch e := e.(type) {
	case *ast.StructLit:
		p.decls(chain, e.Elts)
		return
	case *ast.BinaryExpr:
		if e.Op == token.AND && len(chain) == 0 {
			p.root(chain, e.X)
			p.root(chain, e.Y)
			return
		}
	case *ast.SelectorExpr:
		name, _, err := ast.LabelName(e.Sel)
		if _, plain := e.X.(*ast.Ident); plain && err == nil && name == "#Machine" && len(chain) == 0 {
			return
		}
	}
	p.refuse(e.Pos(), computes)
}

// expr looks through the value of a field.
func (p *places) expr(chain []string, e ast.Expr) {
	switch e := e.(type) {
	case *ast.StructLit:
		p.decls(chain, e.Elts)
	case *ast.ListLit:
		for _, item := range e.Elts {
			p.expr(below(chain, field.Element), item)
		}
	case *ast.BasicLit:
		p.literal(chain, e)
	case *ast.UnaryExpr:
		if number, is := e.X.(*ast.BasicLit); !is || e.Op != token.SUB || number.Kind == token.STRING {
			p.refuse(e.Pos(), computes)
		}
	default:
		p.refuse(e.Pos(), computes)
	}
}

func (p *places) literal(chain []string, e *ast.BasicLit) {
	if e.Kind != token.STRING || !isSecretField(chain) {
		return
	}
	text, err := literal.Unquote(e.Value)
	if err != nil || e.Value != `"`+text+`"` {
		p.refuse(e.Pos(), escaped)
		return
	}
	p.add(chain, e.Pos().Offset()+1, text)
}

// add adds the place of a text, if the file has it there.
func (p *places) add(chain []string, from int, text string) {
	if from > len(p.text) || !bytes.HasPrefix(p.text[from:], []byte(text)) {
		p.refuse(token.NoPos, "cannot be read")
		return
	}
	p.found = append(p.found, Place{Path: strings.Join(chain, "."), From: from, To: from + len(text)})
}

// yaml looks through the documents of a YAML file.
func (p *places) yaml(text []byte) {
	starts := []int{0}
	for i, b := range text {
		if b == '\n' {
			starts = append(starts, i+1)
		}
	}
	decoder := yamlnode.NewDecoder(bytes.NewReader(text))
	for {
		var document yamlnode.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			p.refuse(token.NoPos, "is not valid YAML")
			return
		}
		p.node(nil, &document, starts)
	}
}

func (p *places) node(chain []string, n *yamlnode.Node, starts []int) {
	if n.Anchor != "" || n.Kind == yamlnode.AliasNode {
		p.refuseNode(n, "has an anchor or an alias")
		return
	}
	switch n.Kind {
	case yamlnode.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			p.node(nil, n.Content[i], starts)
			p.node(below(chain, n.Content[i].Value), n.Content[i+1], starts)
		}
	case yamlnode.SequenceNode:
		for _, item := range n.Content {
			p.node(below(chain, field.Element), item, starts)
		}
	case yamlnode.ScalarNode:
		p.scalar(chain, n, starts)
	default:
		for _, inner := range n.Content {
			p.node(chain, inner, starts)
		}
	}
}

func (p *places) scalar(chain []string, n *yamlnode.Node, starts []int) {
	if !isSecretField(chain) {
		return
	}
	quote := ""
	switch n.Style {
	case 0:
	case yamlnode.SingleQuotedStyle:
		quote = "'"
	case yamlnode.DoubleQuotedStyle:
		quote = `"`
	default:
		p.refuseNode(n, escaped)
		return
	}
	from := len(p.text)
	if n.Line >= 1 && n.Line <= len(starts) {
		// A column counts characters.
		line := p.text[starts[n.Line-1]:]
		for column := 1; column < n.Column && len(line) > 0; column++ {
			_, size := utf8.DecodeRune(line)
			line = line[size:]
		}
		from -= len(line)
	}
	if quoted := quote + n.Value + quote; !bytes.HasPrefix(p.text[from:], []byte(quoted)) {
		p.refuseNode(n, escaped)
		return
	}
	p.add(chain, from+len(quote), n.Value)
}

func (p *places) refuseNode(n *yamlnode.Node, reason string) {
	if p.problem == nil {
		p.problem = &schema.Problem{File: p.name, Line: n.Line, Column: n.Column, Reason: reason}
	}
}
