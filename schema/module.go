package schema

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"
	cueload "cuelang.org/go/cue/load"
	"cuelang.org/go/mod/modconfig"
	"cuelang.org/go/mod/modfile"
	"cuelang.org/go/mod/module"
)

// Package is the import path of the CUE package with the schema.
const Package = "github.com/spanmesh/span/machine"

// installedPath is where the package is in a module that it was installed into.
const installedPath = "/cue.mod/pkg/" + Package + "/machine.cue"

// exportedName is the name of a config that was made out of several files.
const exportedName = "machine.cue"

// CUE is the text of the schema.
func CUE() []byte { return machineCUE }

// InstalledPath is where the schema belongs in the CUE module at root.
func InstalledPath(root string) string { return filepath.Join(root, filepath.FromSlash(installedPath)) }

// ModuleRoot finds the CUE module that dir is in: the nearest directory with a
// cue.mod, from dir upwards. It is "" where there is none.
func ModuleRoot(dir string) string {
	for {
		if isDir(filepath.Join(dir, "cue.mod")) {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// imports tells whether a file imports anything beyond CUE's own packages, whose
// paths have no dot in their first element, and whether some of it is not the schema.
func imports(file *ast.File) (modules, foreign bool) {
	for spec := range file.ImportSpecs() {
		path, err := strconv.Unquote(spec.Path.Value)
		first, _, _ := strings.Cut(path, "/")
		if err == nil && strings.Contains(first, ".") {
			modules = true
			foreign = foreign || path != Package && !strings.HasPrefix(path, Package+":")
		}
	}
	return modules, foreign
}

// parsePackage reads a CUE package with all that it imports: that of a directory,
// or a single file of it, whose text is given. The schema needs not be installed.
func (s *source) parsePackage(ctx *cue.Context, dir, what string, data []byte) ([]cue.Value, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	root := ModuleRoot(dir)
	overlay := map[string]cueload.Source{}
	if root == "" {
		root = dir
		overlay[filepath.Join(root, "cue.mod", "module.cue")] = cueload.FromString(defaultModule)
	}
	overlay[InstalledPath(root)] = cueload.FromBytes(machineCUE)
	if data != nil {
		path := filepath.Join(dir, what)
		overlay[path] = cueload.FromBytes(data)
		s.texts[path] = data
	}
	instances := cueload.Instances([]string{what}, &cueload.Config{Dir: dir, ModuleRoot: root, Overlay: overlay, Registry: noRegistry{}})
	var values []cue.Value
	for _, instance := range instances {
		if instance.Err != nil {
			return nil, instance.Err
		}
		// A fault in one of many machines is no fault of the others: it stays in the
		// value, and is found where it matters.
		values = append(values, ctx.BuildInstance(instance))
	}
	return values, nil
}

// defaultModule is the module of a file that is in none.
const defaultModule = `module: "config.invalid"
language: version: "v0.17.0"
`

// noRegistry has no modules: a machine's config does not depend on a network.
type noRegistry struct{}

var _ modconfig.Registry = noRegistry{}

var errNoRegistry = errors.New("modules are not fetched from registries: put the package into cue.mod/pkg")

func (noRegistry) ModFile(context.Context, module.Version) (*modfile.File, error) {
	return nil, errNoRegistry
}

func (noRegistry) Fetch(context.Context, module.Version) (module.SourceLoc, error) {
	return module.SourceLoc{}, errNoRegistry
}

func (noRegistry) ModuleVersions(context.Context, string) ([]string, error) { return nil, nil }

// export writes what was read as one CUE file, without what is the default anyway:
// where the schema is part of what was read, that is everything.
func (s *source) export(in Input) ([]byte, error) {
	text, err := format.Node(&ast.File{Decls: differing(s.shape, s.user)}, format.Simplify())
	if err != nil {
		return nil, fmt.Errorf("write the config as one file: %w", err)
	}
	names := make([]string, len(in.Sources))
	for i, one := range in.Sources {
		names[i] = one.Name
	}
	from := strings.Join(names, ", ")
	if in.Expression != "" {
		from += ", " + in.Expression
	}
	header := "// Made from " + strings.ReplaceAll(from, "\n", " ") + ": edit that instead.\n"
	data := append([]byte(header), text...)
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(data, '\n')
	}
	return data, nil
}

// differing are the fields of v, in the order of the schema, that are not as they
// would be without it.
func differing(shape, v cue.Value) []ast.Decl {
	var fields []ast.Decl
	it, err := shape.Fields(cue.Optional(true))
	if err != nil {
		return nil
	}
	for it.Next() {
		name := it.Selector().Unquoted()
		its := v.LookupPath(cue.MakePath(cue.Str(name)))
		if !its.Exists() {
			continue
		}
		if it.Value().IncompleteKind() == cue.StructKind {
			if inner := differing(it.Value(), its); len(inner) > 0 {
				fields = append(fields, &ast.Field{Label: ast.NewIdent(name), Value: &ast.StructLit{Elts: inner}})
			}
			continue
		}
		fallback, has := it.Value().Default()
		its, _ = its.Default()
		if has && fallback.IsConcrete() && its.Equals(fallback) || !its.IsConcrete() {
			continue
		}
		if expr, ok := its.Syntax(cue.Final(), cue.Attributes(false)).(ast.Expr); ok {
			fields = append(fields, &ast.Field{Label: ast.NewIdent(name), Value: expr})
		}
	}
	return fields
}

// textOf is the text of a file by the name that CUE knows it by; nil if it cannot
// be had any more.
func (s *source) textOf(name string) []byte {
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

// display is a file's name as the user would write it.
func (s *source) display(name string) string {
	if _, asGiven := s.texts[name]; asGiven && !filepath.IsAbs(name) {
		return name
	}
	here, err := os.Getwd()
	if err != nil {
		return name
	}
	if relative, err := filepath.Rel(here, name); err == nil && !strings.HasPrefix(relative, "..") {
		return relative
	}
	return name
}
