package schema

import (
	_ "embed"
	"os"
	"path/filepath"
)

//go:embed machine.cue
var machineCUE []byte

// Package is the import path of the CUE package with the schema.
const Package = "github.com/spanmesh/span/machine"

// installedPath is the file with the schema, relative to the root of a CUE module.
const installedPath = "cue.mod/pkg/" + Package + "/machine.cue"

// CUE returns the text of the schema.
func CUE() []byte { return machineCUE }

// InstalledPath returns the path that the schema has in the CUE module at root.
func InstalledPath(root string) string { return filepath.Join(root, filepath.FromSlash(installedPath)) }

// ModuleRoot returns the root of the CUE module that dir is in: the nearest directory with a
// cue.mod directory, from dir upwards. It returns "" if there is none.
func ModuleRoot(dir string) string {
	for {
		if info, err := os.Stat(filepath.Join(dir, "cue.mod")); err == nil && info.IsDir() {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}
