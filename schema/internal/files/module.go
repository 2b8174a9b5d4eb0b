package files

import (
	"context"
	"errors"
	"path/filepath"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/build"
	cueload "cuelang.org/go/cue/load"
	"cuelang.org/go/mod/modconfig"
	"cuelang.org/go/mod/modfile"
	"cuelang.org/go/mod/module"

	"github.com/spanmesh/span/schema"
)

// parsePackage reads a CUE package with its imports: the package in dir, or a single file of it,
// whose text is data. The schema does not have to be installed in the module.
func (s *Set) parsePackage(ctx *cue.Context, dir, what string, data []byte) ([]cue.Value, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	root := schema.ModuleRoot(dir)
	overlay := map[string]cueload.Source{}
	if root == "" {
		root = dir
		overlay[filepath.Join(root, "cue.mod", "module.cue")] = cueload.FromString(defaultModule)
	}
	overlay[schema.InstalledPath(root)] = cueload.FromBytes(s.Schema)
	if data != nil {
		path := filepath.Join(dir, what)
		overlay[path] = cueload.FromBytes(data)
		s.texts[path] = data
	}
	instances := s.withTags(func(tags []string) []*build.Instance {
		return cueload.Instances([]string{what}, &cueload.Config{Dir: dir, ModuleRoot: root, Overlay: overlay, Registry: noRegistry{}, Tags: tags})
	})
	var values []cue.Value
	for _, instance := range instances {
		s.add(instance)
		if instance.Err != nil {
			return nil, instance.Err
		}
		// A fault stays in the value: it may be in one of many machines, and only matters
		// where that machine is picked.
		values = append(values, ctx.BuildInstance(instance))
	}
	return values, nil
}

// defaultModule is the CUE module for files outside of a module.
const defaultModule = `module: "config.invalid"
language: version: "v0.17.0"
`

// noRegistry is a registry without modules. The config of a machine must not depend on a network.
type noRegistry struct{}

var _ modconfig.Registry = noRegistry{}

var errNoRegistry = errors.New("modules are not fetched from registries; put the package into cue.mod/pkg")

func (noRegistry) ModFile(context.Context, module.Version) (*modfile.File, error) {
	return nil, errNoRegistry
}

func (noRegistry) Fetch(context.Context, module.Version) (module.SourceLoc, error) {
	return module.SourceLoc{}, errNoRegistry
}

func (noRegistry) ModuleVersions(context.Context, string) ([]string, error) { return nil, nil }

// add reads the files of a package and of its imports, so that Hide knows what is in them.
func (s *Set) add(instance *build.Instance) {
	for _, file := range append(instance.BuildFiles, instance.InvalidFiles...) {
		s.text(file.Filename)
	}
	for _, imported := range instance.Imports {
		if imported.ImportPath != schema.Package {
			s.add(imported)
		}
	}
}
