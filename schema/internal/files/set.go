package files

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	cueerrors "cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"
	"cuelang.org/go/encoding/json"
	"cuelang.org/go/encoding/yaml"

	"github.com/spanmesh/span/schema"
)

// SchemaName is the file name of the schema in positions.
const SchemaName = "machine.cue (schema)"

// Set is the files of a config. It is not safe for concurrent use.
type Set struct {
	// texts has the files by the names that CUE has for them.
	texts map[string][]byte
	// scans has the tokens of the files that were asked for.
	scans map[string]scan
	// secrets are texts that Conceal replaces. others are texts that only Hide replaces.
	secrets, others []string
	scanned         bool
	// Schema is the text of the schema for files that import it.
	Schema []byte
	// tags are given to the CUE files.
	tags []string
	// usedTags has those that a file uses.
	usedTags map[string]bool
	// Foreign reports whether files other than the given ones were read.
	Foreign bool
}

// New returns a set of files.
func New(sources ...schema.Source) *Set {
	s := &Set{texts: map[string][]byte{}, scans: map[string]scan{}, Schema: schema.CUE(), usedTags: map[string]bool{}}
	for _, one := range sources {
		s.texts[one.Name] = one.Data
	}
	return s
}

// Parse returns the documents of a source.
func (s *Set) Parse(ctx *cue.Context, one schema.Source) ([]cue.Value, error) {
	if one.Data == nil && isDir(one.Name) {
		s.Foreign = true
		return s.parsePackage(ctx, one.Name, ".", nil)
	}
	switch schema.FormatOf(one.Name) {
	case schema.FormatYAML:
		return parseYAML(ctx, one.Name, one.Data)
	case schema.FormatJSON:
		expr, err := json.Extract(one.Name, one.Data)
		if err != nil {
			return nil, err
		}
		return built(ctx.BuildExpr(expr, cue.Filename(one.Name)))
	default:
		file, err := parser.ParseFile(one.Name, one.Data, parser.ParseComments)
		if err != nil {
			s.scans[one.Name] = scan{} // which parses it too
			return nil, err
		}
		if modules, foreign := imports(file); modules || len(s.tags) > 0 {
			s.Foreign = s.Foreign || foreign
			dir, what := inPackage(one.Name)
			return s.parsePackage(ctx, dir, what, one.Data)
		}
		return built(ctx.BuildFile(file, cue.Filename(one.Name)))
	}
}

// inPackage returns the directory whose module a file is in, and its name there. A pipe is in none:
// it is taken for a file in the working directory.
func inPackage(name string) (dir, what string) {
	dir, what = filepath.Dir(name), filepath.Base(name)
	if strings.HasPrefix(name, "/dev/") || strings.HasPrefix(name, "/proc/") {
		dir = "."
	}
	if filepath.Ext(what) != ".cue" {
		what += ".cue" // CUE asks for it
	}
	return dir, what
}

// withDocumentStarts replaces each "..." that ends a YAML document by "---". The parser wants "---"
// after it, but YAML 1.2 does not, and excerpts of files have "..." alone.
func withDocumentStarts(data []byte) []byte {
	lines := bytes.Split(data, []byte("\n"))
	for i, line := range lines {
		if string(line) == "..." {
			lines[i] = []byte("---")
		}
	}
	return bytes.Join(lines, []byte("\n"))
}

func parseYAML(ctx *cue.Context, name string, data []byte) ([]cue.Value, error) {
	data = withDocumentStarts(data)
	if p := YAMLText(name, data); p != nil {
		return nil, schema.Problems{*p}
	}
	if err := checkAliases(name, data); err != nil {
		return nil, err
	}
	decoder := yaml.NewDecoder(name, bytes.NewReader(data))
	var documents []cue.Value
	for {
		expr, err := decoder.Extract()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if expr != nil && !isNull(expr) {
			readScalars(nil, expr)
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

// isNull reports whether a YAML document is empty.
func isNull(expr ast.Expr) bool {
	literal, ok := expr.(*ast.BasicLit)
	return ok && literal.Value == "null"
}

// built returns v, or the error of a value that could not be built at all. Faults inside of a
// struct stay in it, so that validation finds all of them.
func built(v cue.Value) ([]cue.Value, error) {
	if v.IncompleteKind() != cue.BottomKind {
		return []cue.Value{v}, nil
	}
	for _, e := range cueerrors.Errors(v.Err()) {
		// Values that contradict each other have their paths.
		if format, _ := e.Msg(); len(e.Path()) == 0 || !Contradicts(format) {
			return nil, v.Err()
		}
	}
	return []cue.Value{v}, nil
}

// Contradicts reports whether the format of an error of CUE says that two values contradict each
// other.
func Contradicts(format string) bool {
	return strings.Contains(format, "conflicting values") || strings.Contains(format, "incompatible list lengths")
}

// IsUsers reports whether a position is in a file of the user and not in the schema.
func IsUsers(pos token.Pos) bool {
	return pos.IsValid() && pos.Filename() != "" && pos.Filename() != SchemaName &&
		!strings.HasSuffix(filepath.ToSlash(pos.Filename()), filepath.ToSlash(schema.InstalledPath("/")))
}

// UsersFirst returns the first position in a file of the user.
func UsersFirst(positions []token.Pos) token.Pos {
	for _, pos := range positions {
		if IsUsers(pos) {
			return pos
		}
	}
	return token.NoPos
}

// At sets the position and the text of a problem. A position outside of the user's files leaves
// the problem as it is.
func (s *Set) At(p *schema.Problem, pos token.Pos) {
	if !IsUsers(pos) {
		return
	}
	p.File, p.Line, p.Column = s.display(pos.Filename()), pos.Line(), pos.Column()
	s.quote(p, pos.Filename())
}

// Literal returns the literal that begins at a position in a CUE file, or nil.
func (s *Set) Literal(pos token.Pos) (found ast.Expr) {
	if schema.FormatOf(pos.Filename()) != schema.FormatCUE {
		return nil
	}
	file, err := parser.ParseFile(pos.Filename(), s.text(pos.Filename()))
	if err != nil {
		return nil
	}
	ast.Walk(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit, *ast.UnaryExpr:
			if n.Pos().Offset() == pos.Offset() {
				found = n.(ast.Expr)
			}
			return false
		}
		return true
	}, nil)
	return found
}

// text returns the text of a file by the name that CUE has for it. It returns nil for a file
// that can no longer be read.
func (s *Set) text(name string) []byte {
	if text, ok := s.texts[name]; ok {
		return text
	}
	if !filepath.IsAbs(name) {
		return nil
	}
	text, err := fs.ReadFile(os.DirFS(filepath.Dir(name)), filepath.Base(name))
	if err != nil {
		return nil
	}
	s.texts[name] = text
	return text
}

// display returns the name of a file as the user would write it.
func (s *Set) display(name string) string {
	if _, asGiven := s.texts[name]; asGiven && !filepath.IsAbs(name) {
		return name
	}
	here, err := os.Getwd()
	if err != nil || here == "/" { // an agent's, where nobody writes names
		return name
	}
	if relative, err := filepath.Rel(here, name); err == nil && !strings.HasPrefix(relative, "..") {
		return relative
	}
	return name
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
