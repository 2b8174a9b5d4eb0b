package configfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spanmesh/span/cmd/spanctl/internal/durable"
	"github.com/spanmesh/span/cmd/spanctl/internal/regular"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

const dirMode = 0o755

// File is a machine config on disk. Its methods may be called concurrently.
type File struct {
	path string
	// Disk writes the config.
	Disk durable.Disk
}

// At returns the config at path. It need not exist.
func At(path string) File { return File{path: path} }

// Path returns the path that At was given.
func (f File) Path() string { return f.path }

// variants returns the paths that the config may be at: its own, then those with the
// endings of other formats.
func (f File) variants() []string {
	ext := filepath.Ext(f.path)
	stem := strings.TrimSuffix(f.path, ext)
	paths := []string{f.path}
	for _, e := range schema.Extensions {
		if e != ext {
			paths = append(paths, stem+e)
		}
	}
	return paths
}

// Read returns the config and the name of its file. The error is an fs.ErrNotExist if
// there is no config. It is an error too if there are several.
func (f File) Read() (name string, data []byte, err error) {
	path, err := f.one()
	if err != nil {
		return path, nil, err
	}
	data, err = regular.Read(path, load.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return f.path, nil, missingError{f.path}
	}
	if err != nil {
		return path, nil, fmt.Errorf("read the config: %w", err)
	}
	return path, data, nil
}

// missingError says that there is no config. It is an fs.ErrNotExist.
type missingError struct{ path string }

func (e missingError) Error() string {
	return fmt.Sprintf("there is no config at %s; `spanctl gen config` writes one", e.path)
}

func (missingError) Unwrap() error { return fs.ErrNotExist }

// PathFor returns where Store puts a config with the ending of name.
func (f File) PathFor(name string) string {
	if ext := filepath.Ext(name); slices.Contains(schema.Extensions, ext) {
		return strings.TrimSuffix(f.path, filepath.Ext(f.path)) + ext
	}
	return f.path
}

// Store makes data, byte for byte, the config. The ending of name is its format. Store
// returns the path of the config. It does not write a file that has these bytes already. A config
// in another format is kept beside it, with ".bak" after its name. If there are several already,
// nothing is changed.
func (f File) Store(name string, data []byte) (path string, err error) {
	if _, err := f.one(); err != nil {
		return f.PathFor(name), err
	}
	return f.Restore(name, data)
}

// Restore is Store that also replaces several configs, and keeps each. What was in force comes
// back whatever somebody put beside it.
func (f File) Restore(name string, data []byte) (path string, err error) {
	path = f.PathFor(name)
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return path, fmt.Errorf("make the config's directory: %w", err)
	}
	others, err := f.keepOthers(path, data)
	if err != nil {
		return path, err
	}
	if before, err := regular.Read(path, load.MaxSize); err != nil || string(before) != string(data) {
		if err := f.write(path, data); err != nil {
			return path, fmt.Errorf("store the config: %w", err)
		}
	}
	for _, other := range others {
		if err := f.Disk.Remove(other); err != nil {
			return path, fmt.Errorf("remove the config that this one replaces: %w", err)
		}
	}
	return path, nil
}

// Remove removes the config. If there are several, each is kept with ".bak" after its name.
func (f File) Remove() error {
	paths := f.there()
	if len(paths) > 1 {
		if _, err := f.keepOthers("", nil); err != nil {
			return err
		}
	}
	for _, path := range paths {
		if err := f.Disk.Remove(path); err != nil {
			return fmt.Errorf("remove the config: %w", err)
		}
	}
	return nil
}

// write replaces the file at path. A symbolic link stays: the file it leads to is
// replaced.
func (f File) write(path string, data []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return f.Disk.Write(path, data)
}
