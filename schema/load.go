package schema

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"
	"cuelang.org/go/encoding/json"
	"cuelang.org/go/encoding/yaml"
)

//go:embed machine.cue
var machineCUE []byte

// maxSize bounds a machine config in bytes. The largest sensible one, with
// thousands of entries, stays well below.
const maxSize = 4 << 20

// Format is a notation that machine configs are written in.
type Format int

// The formats that Load reads.
const (
	FormatCUE Format = iota
	FormatYAML
	FormatJSON
)

// Extensions are the file name endings of machine configs.
var Extensions = []string{".cue", ".yaml", ".yml", ".json"}

// formatOf tells the format by the ending of a file name; CUE when it has none
// that is known.
func formatOf(name string) Format {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml":
		return FormatYAML
	case ".json":
		return FormatJSON
	default:
		return FormatCUE
	}
}

// Load reads a complete machine config. The ending of name tells its format;
// name is otherwise used in messages only. A stream of several YAML documents
// is one config: the documents are unified.
//
// The error is of type Problems where the fault is in the config.
func Load(name string, data []byte) (*Config, error) {
	return load(name, data, func(v cue.Value) cue.Value { return v }, (*source).checkComplete)
}

// LoadFragment reads a part of a machine config, as documentation shows them
// and as patches hold them: what other parts would supply may be missing, and
// a piece that leaves out its parent (a document with "network" or "discovery"
// at its root) is taken to belong where the schema has that field.
func LoadFragment(name string, data []byte) (*Config, error) {
	return load(name, data, placeFragment, nil)
}

// source is a config on its way from bytes to Config.
type source struct {
	name   string
	fields map[string]field
	user   cue.Value
}

// load reads a config. Place puts each document where it belongs, check finds
// what is wrong with the whole.
func load(name string, data []byte, place func(cue.Value) cue.Value, check func(*source, cue.Value) Problems) (*Config, error) {
	if len(data) > maxSize {
		return nil, Problems{{File: name, Reason: fmt.Sprintf("is %d bytes long", len(data)),
			Want: fmt.Sprintf("a machine config of at most %d bytes", maxSize)}}
	}
	ctx := cuecontext.New()
	shape := ctx.CompileBytes(machineCUE, cue.Filename("machine.cue (schema)")).LookupPath(cue.ParsePath("#Config"))
	if err := shape.Err(); err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	documents, err := parse(ctx, name, data)
	if err != nil {
		return nil, syntaxProblems(name, data, err)
	}
	user := ctx.CompileString("{}")
	for _, document := range documents {
		if kind := document.IncompleteKind(); kind&cue.StructKind == 0 {
			p := Problem{File: name, Reason: "is " + article(kind) + " where a machine config belongs",
				Want: `a struct with the fields "machine" and "cluster"`}
			p.at(positionIn(name, []token.Pos{document.Pos()}))
			return nil, Problems{p}
		}
		user = user.Unify(place(document))
	}
	s := &source{name: name, fields: fieldsOf(shape), user: user}
	full := shape.Unify(user)
	if problems := s.problems(full, check); len(problems) > 0 {
		return nil, problems
	}
	var config Config
	if err := full.Decode(&config); err != nil {
		return nil, Problems{{File: name, Reason: scrub(err.Error())}}
	}
	if problems := s.checkPeers(config.Cluster.Discovery.Registries.Static.Peers); len(problems) > 0 {
		return nil, problems
	}
	return &config, nil
}

// parse turns the bytes into CUE values, one a document.
func parse(ctx *cue.Context, name string, data []byte) ([]cue.Value, error) {
	switch formatOf(name) {
	case FormatYAML:
		return parseYAML(ctx, name, data)
	case FormatJSON:
		expr, err := json.Extract(name, data)
		if err != nil {
			return nil, err
		}
		return built(ctx.BuildExpr(expr, cue.Filename(name)))
	default:
		file, err := parser.ParseFile(name, data, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		return built(ctx.BuildFile(file, cue.Filename(name)))
	}
}

// documentEnd matches the line that ends a YAML document.
var documentEnd = regexp.MustCompile(`(?m)^\.\.\.$`)

func parseYAML(ctx *cue.Context, name string, data []byte) ([]cue.Value, error) {
	// The parser wants "---" after the "..." that ends a document, YAML 1.2
	// does not, and excerpts of files have "..." alone.
	data = documentEnd.ReplaceAll(data, []byte("---"))
	decoder := yaml.NewDecoder(name, bytes.NewReader(data))
	var documents []cue.Value
	for {
		expr, err := decoder.Extract()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if expr != nil && !isNull(expr) {
			one, err := built(ctx.BuildExpr(expr, cue.Filename(name)))
			if err != nil {
				return nil, err
			}
			documents = append(documents, one...)
		}
		if err != nil {
			return documents, nil
		}
	}
}

// isNull tells an empty YAML document.
func isNull(expr ast.Expr) bool {
	literal, ok := expr.(*ast.BasicLit)
	return ok && literal.Value == "null"
}

// built returns v unless it could not be built at all. Faults inside of a
// struct stay in it, for Validate to find all of them.
func built(v cue.Value) ([]cue.Value, error) {
	if v.IncompleteKind() == cue.BottomKind {
		return nil, v.Err()
	}
	return []cue.Value{v}, nil
}

// parents lists the fields whose children a fragment may show at its root.
var parents = []struct {
	parent   string
	children []string
}{
	{"machine", []string{"network"}},
	{"machine.network", []string{"kubespan"}},
	{"cluster", []string{"id", "secret", "discovery"}},
	{"cluster.discovery", []string{"registries"}},
}

// parentOf is the path of the field that a child called name belongs to, or "".
func parentOf(name string) string {
	for _, p := range parents {
		if slices.Contains(p.children, name) {
			return p.parent
		}
	}
	return ""
}

func placeFragment(v cue.Value) cue.Value {
	for it, err := v.Fields(); err == nil && it.Next(); {
		if parent := parentOf(it.Selector().Unquoted()); parent != "" {
			return cuecontext.New().CompileString("{}").FillPath(cue.ParsePath(parent), v)
		}
	}
	return v
}
