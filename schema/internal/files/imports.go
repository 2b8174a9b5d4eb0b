package files

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"cuelang.org/go/cue/ast"
	cueerrors "cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/spanmesh/span/schema"
)

// imports reports whether a file imports packages of modules, and whether one of them is not the
// schema.
func imports(file *ast.File) (modules, foreign bool) {
	for spec := range file.ImportSpecs() {
		if path := pathOf(spec); isOfModule(path) {
			modules = true
			foreign = foreign || path != schema.Package && !strings.HasPrefix(path, schema.Package+":")
		}
	}
	return modules, foreign
}

// pathOf returns the path of an import, or "".
func pathOf(spec *ast.ImportSpec) string {
	path, _ := strconv.Unquote(spec.Path.Value)
	return path
}

// isOfModule reports whether a module has the package. The paths of CUE's own packages have no dot
// in their first element.
func isOfModule(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".")
}

// importAt returns the path that is imported at a position, or "".
func (s *Set) importAt(pos token.Pos) string {
	file, err := parser.ParseFile(pos.Filename(), s.text(pos.Filename()), parser.ImportsOnly)
	if err != nil {
		return ""
	}
	for spec := range file.ImportSpecs() {
		if spec.Path.Pos().Line() == pos.Line() {
			return pathOf(spec)
		}
	}
	return ""
}

// explainImport says why an import failed, and what helps. It leaves the problem of another error.
func (s *Set) explainImport(p *schema.Problem, e cueerrors.Error, pos token.Pos) {
	if format, _ := e.Msg(); format != "import failed" || !pos.IsValid() {
		return
	}
	path := s.importAt(pos)
	if path == "" {
		return
	}
	plain, _, _ := strings.Cut(path, ":")
	cause := ""
	for inner := error(e); inner != nil; inner = errors.Unwrap(inner) {
		cause = inner.Error()
	}
	root := schema.ModuleRoot(filepath.Dir(pos.Filename()))
	p.Path, p.Value = "", ""
	switch {
	case strings.Contains(cause, "ambiguous import"):
		p.Reason = fmt.Sprintf("imports %q, which is in the module and in its cue.mod/pkg", path)
		p.Want = "one of them"
	case nearSchema(plain):
		p.Reason = fmt.Sprintf("imports %q, which is not there", path)
		p.Want = fmt.Sprintf("%q, if the schema is meant", schema.Package)
	case root == "":
		p.Reason = fmt.Sprintf("imports %q, but no directory around the file is a CUE module, and nothing is fetched from a registry", path)
		p.Want = fmt.Sprintf("a CUE module (`cue mod init`) with the package in its cue.mod/pkg/%s", plain)
	default:
		p.Reason = fmt.Sprintf("imports %q, which is not in the CUE module, and nothing is fetched from a registry, whatever $CUE_REGISTRY is", path)
		p.Want = "the package in " + s.display(filepath.Join(root, "cue.mod", "pkg", filepath.FromSlash(plain)))
	}
}

// nearSchema reports whether a path is probably meant to be the schema's.
func nearSchema(path string) bool {
	parent, _ := filepath.Split(schema.Package)
	return strings.HasPrefix(path, strings.TrimSuffix(parent, "/")) && path != schema.Package
}
