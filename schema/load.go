package schema

import (
	"bytes"
	_ "embed"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/cuecontext"
	cueerrors "cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"
	"cuelang.org/go/encoding/json"
	"cuelang.org/go/encoding/yaml"
)

//go:embed machine.cue
var machineCUE []byte

// schemaName is what CUE knows the schema's file by.
const schemaName = "machine.cue (schema)"

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

// Source is where a machine config, or a part of one, is.
type Source struct {
	// Name is the path of a file, whose ending tells the format, or of a directory.
	Name string
	// Data is the text of the file; nil stands for the CUE package in a directory.
	Data []byte
}

// Input is what makes up a machine config.
type Input struct {
	// Sources are unified: each may have what others leave out, none may contradict.
	Sources []Source
	// Expression, in CUE, picks the config out of them, such as "machines.web1".
	// Empty, they are the config.
	Expression string
	// ReadSecret reads secrets that are kept elsewhere. Without it they are not read,
	// and the config can be looked at but not put in force.
	ReadSecret ReadSecret
}

// Load reads a complete machine config. The ending of name tells its format; what
// a CUE file imports is looked for from name's directory on. A stream of several
// YAML documents is one config: the documents are unified.
//
// The error is of type Problems where the fault is in the config.
func Load(name string, data []byte) (*Config, error) {
	return Input{Sources: []Source{{name, data}}}.Load()
}

// Load reads a complete machine config, as the function does.
func (in Input) Load() (*Config, error) {
	_, config, err := in.load()
	return config, err
}

// Resolve reads a complete machine config and returns it as one file that needs no
// other: the file itself if the input is such a file, else the result, in CUE.
func (in Input) Resolve() (Source, *Config, error) {
	s, config, err := in.load()
	if err != nil {
		return Source{}, nil, err
	}
	if len(in.Sources) == 1 && in.Expression == "" && !s.foreign {
		return in.Sources[0], config, nil
	}
	data, err := s.export(in)
	return Source{Name: exportedName, Data: data}, config, err
}

func (in Input) load() (*source, *Config, error) {
	return load(in, func(v cue.Value) cue.Value { return v }, (*source).checkComplete)
}

// LoadFragment reads a part of a machine config, as documentation shows them
// and as patches hold them: what other parts would supply may be missing, and
// a piece that leaves out its parent (a document with "network" or "discovery"
// at its root) is taken to belong where the schema has that field.
func LoadFragment(name string, data []byte) (*Config, error) {
	_, config, err := load(Input{Sources: []Source{{name, data}}}, placeFragment, nil)
	return config, err
}

// source is a config on its way from bytes to Config.
type source struct {
	// name is that of the first source, texts are those of files by the names that
	// CUE knows them by.
	name  string
	texts map[string][]byte
	// shape is the schema, user what the user wrote.
	shape, user cue.Value
	// foreign tells that other files were needed.
	foreign bool
	// picked tells that an expression picked the config, prefix is its path.
	picked bool
	prefix []string
}

// load reads a config. Place puts each document where it belongs, check finds
// what is wrong with the whole.
func load(in Input, place func(cue.Value) cue.Value, check func(*source, cue.Value) Problems) (*source, *Config, error) {
	s := &source{name: "the config", texts: map[string][]byte{}, picked: in.Expression != ""}
	if len(in.Sources) > 0 {
		s.name = in.Sources[0].Name
	}
	for _, one := range in.Sources {
		if len(one.Data) > maxSize {
			return nil, nil, Problems{{File: one.Name, Reason: fmt.Sprintf("is %d bytes long", len(one.Data)),
				Want: fmt.Sprintf("a machine config of at most %d bytes", maxSize)}}
		}
		s.texts[one.Name] = one.Data
	}
	ctx := cuecontext.New()
	shape := ctx.CompileString(inlinedCUE, cue.Filename(schemaName)).LookupPath(cue.ParsePath("#Machine"))
	if err := shape.Err(); err != nil {
		return nil, nil, fmt.Errorf("compile the schema: %w", err)
	}
	s.shape = shape
	if err := s.read(ctx, in, place); err != nil {
		return nil, nil, err
	}
	full := shape.Unify(s.user)
	config, sound := s.sound(full, check)
	if !sound {
		if problems := s.problems(full, check); len(problems) > 0 {
			return nil, nil, problems
		}
		if err := full.Decode(&config); err != nil {
			return nil, nil, Problems{{File: s.name, Reason: scrub(err.Error())}}
		}
	}
	if problems := s.checkPeers(config.Cluster.Discovery.Registries.Static.Peers); len(problems) > 0 {
		return nil, nil, problems
	}
	if in.ReadSecret != nil {
		if problems := s.readSecrets(&config, in.ReadSecret); len(problems) > 0 {
			return nil, nil, problems
		}
	}
	return s, &config, nil
}

// sound decodes a config with which nothing is wrong. It takes half of the time of
// finding out what is wrong with one.
func (s *source) sound(full cue.Value, check func(*source, cue.Value) Problems) (config Config, ok bool) {
	if full.Validate(cue.Concrete(true)) != nil || check != nil && len(check(s, full)) > 0 {
		return config, false
	}
	text, ok := appendSound(nil, "", full)
	return config, ok && stdjson.Unmarshal(text, &config) == nil
}

// appendSound appends a value as JSON, and tells whether it and all in it pass the checks
// that @check names. Unlike CUE's own, it does not bring the fields into the order of
// all files that have them, which takes most of the time there.
func appendSound(b []byte, path string, v cue.Value) ([]byte, bool) {
	v, _ = v.Default()
	f, ok := fields()[path]
	if !ok {
		return b, false
	}
	switch v.Kind() {
	case cue.StructKind:
		return appendStruct(b, path, f.children, v)
	case cue.ListKind:
		return appendList(b, path, v)
	case cue.StringKind:
		// Asked for once only: every question makes CUE a context.
		text, err := v.String()
		if check := checks[f.check]; err != nil || check != nil && check(text) != nil {
			return b, false
		}
		quoted, err := stdjson.Marshal(text)
		return append(b, quoted...), err == nil
	}
	if f.check != "" && f.verify(v) != nil {
		return b, false
	}
	text, err := v.MarshalJSON()
	return append(b, text...), err == nil
}

func appendStruct(b []byte, path string, names []string, v cue.Value) (_ []byte, ok bool) {
	b = append(b, '{')
	first := true
	for _, name := range names {
		inner := v.LookupPath(cue.MakePath(cue.Str(name)))
		if !inner.Exists() {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(strconv.AppendQuote(b, name), ':')
		if b, ok = appendSound(b, join(path, name), inner); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}

func appendList(b []byte, path string, v cue.Value) (_ []byte, ok bool) {
	items, err := v.List()
	b = append(b, '[')
	for first := true; err == nil && items.Next(); first = false {
		if !first {
			b = append(b, ',')
		}
		if b, ok = appendSound(b, join(path, element), items.Value()); !ok {
			return b, false
		}
	}
	return append(b, ']'), err == nil
}

// read makes the value that the user wrote out of all sources.
func (s *source) read(ctx *cue.Context, in Input, place func(cue.Value) cue.Value) error {
	s.user = ctx.CompileString("{}")
	for _, one := range in.Sources {
		documents, err := s.parse(ctx, one)
		if err != nil {
			return s.syntaxProblems(one, err)
		}
		for _, document := range documents {
			if err := s.checkRoot(document, one.Name); err != nil {
				return err
			}
			document = place(document)
			// Alone, it need not be unified; and where it is faulty, parts of it may be
			// sound, which are gone then.
			alone := len(in.Sources) == 1 && len(documents) == 1
			if kind := document.IncompleteKind(); !alone || kind != cue.StructKind && kind != cue.BottomKind {
				document = s.user.Unify(document)
			}
			s.user = document
		}
	}
	if in.Expression == "" {
		return nil
	}
	picked, err := s.pick(ctx, in.Expression)
	if err != nil {
		return err
	}
	s.user = picked
	return s.checkRoot(picked, "-e "+in.Expression)
}

// pick evaluates an expression in the scope of what was read.
func (s *source) pick(ctx *cue.Context, expression string) (cue.Value, error) {
	name := "-e " + expression
	expr, err := parser.ParseExpr(name, expression)
	if err != nil {
		return cue.Value{}, Problems{{File: name, Reason: scrub(messageOf(cueerrors.Promote(err, ""))), Want: `CUE, such as "machines.web1"`}}
	}
	if path := cue.ParsePath(expression); path.Err() == nil {
		// Looked up, what is faulty beside it does not matter.
		v := s.user.LookupPath(path)
		if !v.Exists() {
			return v, Problems{{File: name, Reason: "there is no such field", Want: "a machine config in " + s.name}}
		}
		for _, selector := range path.Selectors() {
			s.prefix = append(s.prefix, unquoted(selector))
		}
		return v, nil
	}
	v := ctx.BuildExpr(expr, cue.Scope(s.user), cue.InferBuiltins(true))
	if !v.Exists() {
		reason := scrub(messageOf(cueerrors.Promote(v.Err(), "")))
		return v, Problems{{File: name, Reason: reason, Want: "an expression for a machine config in " + s.name}}
	}
	return v, nil
}

// unquoted is a selector as the paths of errors have it.
func unquoted(selector cue.Selector) string {
	if selector.LabelType() == cue.StringLabel {
		return selector.Unquoted()
	}
	return selector.String()
}

// checkRoot refuses what is no struct.
func (s *source) checkRoot(v cue.Value, name string) error {
	kind := v.IncompleteKind()
	if kind == cue.BottomKind || kind&cue.StructKind != 0 {
		return nil
	}
	p := Problem{File: name, Reason: "is " + article(kind) + " where a machine config belongs",
		Want: `a struct with the fields "machine" and "cluster"`}
	s.at(&p, v.Pos())
	return Problems{p}
}

// parse turns a source into CUE values, one a document.
func (s *source) parse(ctx *cue.Context, one Source) ([]cue.Value, error) {
	if one.Data == nil && isDir(one.Name) {
		s.foreign = true
		return s.parsePackage(ctx, one.Name, ".", nil)
	}
	switch formatOf(one.Name) {
	case FormatYAML:
		return parseYAML(ctx, one.Name, one.Data)
	case FormatJSON:
		expr, err := json.Extract(one.Name, one.Data)
		if err != nil {
			return nil, err
		}
		return built(ctx.BuildExpr(expr, cue.Filename(one.Name)))
	default:
		file, err := parser.ParseFile(one.Name, one.Data, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		if modules, foreign := imports(file); modules {
			s.foreign = s.foreign || foreign
			return s.parsePackage(ctx, filepath.Dir(one.Name), filepath.Base(one.Name), one.Data)
		}
		return built(ctx.BuildFile(file, cue.Filename(one.Name)))
	}
}

// documentEnd matches the line that ends a YAML document.
var documentEnd = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^\.\.\.$`) })

func parseYAML(ctx *cue.Context, name string, data []byte) ([]cue.Value, error) {
	// The parser wants "---" after the "..." that ends a document, YAML 1.2
	// does not, and excerpts of files have "..." alone.
	data = documentEnd().ReplaceAll(data, []byte("---"))
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

// isUsers tells the positions in what the user wrote from those in the schema.
func isUsers(pos token.Pos) bool {
	return pos.IsValid() && pos.Filename() != "" && pos.Filename() != schemaName && !strings.HasSuffix(filepath.ToSlash(pos.Filename()), installedPath)
}
