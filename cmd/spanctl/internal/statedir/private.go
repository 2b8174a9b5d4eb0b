package statedir

import (
	"os"
	"path/filepath"

	"github.com/spanmesh/span/reconciler/health"
)

// Private returns the directory and its files that others must not read or change, as far as they
// are there.
func (d *Dir) Private() []health.File {
	wanted := []health.File{{Path: d.path, Use: health.Directory}}
	for _, name := range []string{kubespanFile, resetFile, rotateFile} {
		wanted = append(wanted, health.File{Path: filepath.Join(d.path, name), Use: health.KeyFile})
	}
	wanted = append(wanted, health.File{Path: filepath.Join(d.Relay(), "key"), Use: health.KeyFile})
	all, err := d.History()
	if err == nil { // a history that cannot be read is no secret
		for _, r := range all {
			wanted = append(wanted, health.File{Path: r.Path, Use: health.SecretFile})
		}
	}
	return Modes(wanted)
}

// Modes returns those of the files that are there, with their modes.
func Modes(files []health.File) []health.File {
	var there []health.File
	for _, f := range files {
		if info, err := os.Stat(f.Path); err == nil {
			f.Mode = info.Mode()
			there = append(there, f)
		}
	}
	return there
}
