package reference

import (
	"fmt"
	"strings"
	"sync"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/token"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/check"
	"github.com/spanmesh/span/schema/internal/field"
)

// Setting describes a setting or a section of the machine config. All of it is from the schema.
type Setting struct {
	// Path is the path of the setting, such as "cluster.discovery.registries.static.peers[].name". It
	// is empty for the config as a whole.
	Path string `json:"path"`
	// Type is "bool", "int", "string", "struct", a list of them such as "[]string", or several, as in
	// "int or string".
	Type string `json:"type"`
	// Description is the comment of the schema.
	Description string `json:"description,omitempty"`
	// Want says in words what a value must be.
	Want string `json:"want,omitempty"`
	// Bounds are those of CUE; empty for none.
	Bounds string `json:"bounds,omitempty"`
	// Default is in CUE; empty for none.
	Default string `json:"default,omitempty"`
	// Example is a valid value in CUE; empty for a section.
	Example string `json:"example,omitempty"`
	// Since is the version that has the setting first, or Unreleased.
	Since string `json:"since,omitempty"`
	// Effect says what else happens when the value changes; empty for nothing.
	Effect string `json:"effect,omitempty"`
	// Related says what other settings the setting needs.
	Related []string `json:"related,omitempty"`
	// Secret is set where the value is kept out of messages.
	Secret bool `json:"secret,omitempty"`
	// Fields are the settings below, in the order of the schema.
	Fields []Setting `json:"fields,omitempty"`
}

// Unreleased is the version of a setting that no release has yet.
const Unreleased = "unreleased"

// Name returns the last part of the path.
func (s *Setting) Name() string { return s.Path[strings.LastIndex(s.Path, ".")+1:] }

// Summary returns the first sentence of the description.
func (s *Setting) Summary() string { return FirstSentence(s.Description) }

// FirstSentence returns the first sentence of a text, on a line.
func FirstSentence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if end := strings.Index(text, ". "); end >= 0 {
		return text[:end+1]
	}
	return text
}

// IsSection reports whether the setting has no value of its own.
func (s *Setting) IsSection() bool { return s.Type == "struct" }

// Settings returns the config as a whole. The caller must not change it.
func Settings() (*Setting, error) { return settings() }

var settings = sync.OnceValues(func() (*Setting, error) {
	shape := cuecontext.New().CompileBytes(schema.CUE()).LookupPath(cue.ParsePath("#Machine"))
	if err := shape.Err(); err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	related := relations()
	root := settingOf("", shape, related)
	root.Description = docOf(shape)
	return &root, nil
})

// settingOf describes the setting at a path, as package field has them.
func settingOf(path string, v cue.Value, related map[string][]string) Setting {
	known := field.All()[path]
	shown := strings.ReplaceAll(path, "."+field.Element, field.Element)
	s := Setting{Path: shown, Type: field.KindName(known.Kind), Description: docOf(v), Want: known.Want,
		Example: contents(v, "example"), Since: contents(v, "since"), Effect: text(v, "effect"), Secret: known.Secret,
		Related: related[path]}
	below := path
	alternatives := []cue.Value{v}
	switch {
	case known.Kind == cue.ListKind:
		item := v.LookupPath(cue.MakePath(cue.AnyIndex))
		below, alternatives = field.Join(path, field.Element), []cue.Value{item}
		s.Type = "[]" + field.KindName(item.IncompleteKind())
	case known.Kind == cue.StructKind:
		s.Want = ""
	case known.Kind&cue.StructKind != 0:
		alternatives = field.Alternatives(v)
	}
	if source, ok := v.Source().(*ast.Field); ok && !s.IsSection() {
		s.Bounds = boundsOf(source.Value)
	}
	if value, has := v.Default(); has && value.IsConcrete() && known.Kind != cue.StructKind {
		s.Default = fmt.Sprint(value)
	}
	for _, one := range alternatives {
		for it, err := one.Fields(cue.Optional(true)); err == nil && it.Next(); {
			s.Fields = append(s.Fields, settingOf(field.Join(below, it.Selector().Unquoted()), it.Value(), related))
		}
	}
	return s
}

// contents returns what is in the parentheses of an attribute.
func contents(v cue.Value, name string) string {
	a := v.Attribute(name)
	return a.Contents()
}

// text returns the string of an attribute.
func text(v cue.Value, name string) string {
	a := v.Attribute(name)
	text, err := a.String(0)
	if err != nil {
		return ""
	}
	return text
}

// boundsOf returns the bounds of a value in the source of the schema: without its types, and
// without a default that is within them.
func boundsOf(e ast.Expr) string {
	var alternatives []string
	literals := true
	for _, one := range operands(e, token.OR) {
		if marked, ok := one.(*ast.UnaryExpr); ok && marked.Op == token.MUL {
			if literals && len(alternatives) > 0 {
				alternatives = append(alternatives, source(marked.X))
			}
			continue
		}
		var all []string
		for _, part := range operands(one, token.AND) {
			switch part.(type) {
			case *ast.Ident, *ast.ListLit:
			default:
				all = append(all, source(part))
			}
		}
		_, literal := one.(*ast.BasicLit)
		literals = literals && literal
		if len(all) > 0 {
			alternatives = append(alternatives, strings.Join(all, " & "))
		}
	}
	return strings.Join(alternatives, " | ")
}

// operands returns the operands of a chain of one operator.
func operands(e ast.Expr, op token.Token) []ast.Expr {
	if binary, ok := e.(*ast.BinaryExpr); ok && binary.Op == op {
		return append(operands(binary.X, op), operands(binary.Y, op)...)
	}
	return []ast.Expr{e}
}

func source(e ast.Expr) string {
	text, err := format.Node(e)
	if err != nil {
		return ""
	}
	return string(text)
}

// everyFault finds every fault in relations.
type everyFault struct{}

func (everyFault) Is(string, bool) bool  { return true }
func (everyFault) Missing(string) bool   { return true }
func (everyFault) Len(string) int        { return 0 }
func (everyFault) Same(_, _ string) bool { return true }

// relations returns what settings need of each other, by their paths.
func relations() map[string][]string {
	related := map[string][]string{}
	for _, f := range check.Complete(everyFault{}) {
		line := fmt.Sprintf("%s %s; want %s", f.Path, f.Reason, f.Want)
		for _, path := range []string{f.Path, f.AskedBy} {
			related[path] = append(related[path], line)
		}
	}
	return related
}
