package configfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/regular"
	"github.com/spanmesh/span/schema/load"
)

// severalError says that there are configs in more than one format.
type severalError struct{ paths []string }

func (e *severalError) Error() string { return e.what() + "; move all but one away" }

// what names the configs.
func (e *severalError) what() string {
	names := make([]string, len(e.paths))
	for i, path := range e.paths {
		names[i] = filepath.Base(path)
	}
	last := len(names) - 1
	return fmt.Sprintf("there are several configs in %s: %s and %s", filepath.Dir(e.paths[0]), strings.Join(names[:last], ", "), names[last])
}

// backup returns where a config is kept that one in another format replaces.
func backup(path string) string { return path + ".bak" }

// there returns the paths of configs that exist.
func (f File) there() (paths []string) {
	for _, path := range f.variants() {
		_, err := os.Stat(path)
		if errors.Is(err, fs.ErrPermission) {
			_, err = os.Lstat(path) // of a directory that is closed, no file is known
		}
		// Read reports what is wrong with a file that cannot be looked at.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			paths = append(paths, path)
		}
	}
	return paths
}

// one returns the path of the config. It is the path that At was given if there is none, and a
// severalError if there are several. A loss of power can leave a config that another one has
// replaced: its backup has its content, and it does not count.
func (f File) one() (string, error) {
	paths := f.there()
	if len(paths) > 1 {
		var left []string
		for _, path := range paths {
			if !isReplaced(path) {
				left = append(left, path)
			}
		}
		if len(left) != 1 {
			return f.path, &severalError{paths}
		}
		paths = left
	}
	if len(paths) == 0 {
		return f.path, nil
	}
	return paths[0], nil
}

// Several says which configs there are if there are several, which is an error of Read. It is empty
// if there is one or none.
func (f File) Several() string {
	var several *severalError
	if _, err := f.one(); errors.As(err, &several) {
		return several.what()
	}
	return ""
}

// isReplaced reports whether the backup of a config has its content.
func isReplaced(path string) bool {
	data, err := regular.Read(path, load.MaxSize)
	kept, backupErr := regular.Read(backup(path), load.MaxSize)
	return err == nil && backupErr == nil && bytes.Equal(data, kept)
}

// keep makes the backup of a config, or of what is in its place.
func (f File) keep(path string, data []byte, isConfig bool) error {
	if isConfig && isReplaced(path) {
		return nil
	}
	if err := f.clear(backup(path)); err != nil {
		return err
	}
	if !isConfig {
		return os.Rename(path, backup(path))
	}
	return f.Disk.Write(backup(path), data)
}

// clear keeps a backup that another one is to replace, with a number after its name.
func (f File) clear(backup string) error {
	data, err := regular.Read(backup, load.MaxSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil: // such as a directory
		return os.Rename(backup, unused(backup))
	}
	for i := range maxBackups {
		if kept, err := regular.Read(numbered(backup, i+1), load.MaxSize); err == nil && bytes.Equal(kept, data) {
			return nil
		}
	}
	return f.Disk.Write(unused(backup), data)
}

// maxBackups is how many backups of a config are kept with a number.
const maxBackups = 9

func numbered(backup string, number int) string { return fmt.Sprintf("%s.%d", backup, number) }

// unused returns a name with a number that nothing has, or that of the oldest file.
func unused(backup string) string {
	oldest := numbered(backup, 1)
	var since time.Time
	for i := range maxBackups {
		name := numbered(backup, i+1)
		info, err := os.Lstat(name)
		if err != nil {
			return name
		}
		if info.Mode().IsRegular() && (since.IsZero() || info.ModTime().Before(since)) {
			oldest, since = name, info.ModTime()
		}
	}
	return oldest
}

// keepOthers writes the backups of all configs but the one at path, which is to have data, and
// returns the paths of the others.
func (f File) keepOthers(path string, data []byte) (others []string, err error) {
	for _, other := range f.there() {
		if other == path {
			continue
		}
		kept, err := regular.Read(other, load.MaxSize)
		if err == nil {
			others = append(others, other)
		}
		if err := f.keep(other, kept, err == nil); err != nil {
			return nil, fmt.Errorf("keep the config that this one replaces: %w", err)
		}
	}
	if kept, err := regular.Read(backup(path), load.MaxSize); err == nil && bytes.Equal(kept, data) && len(others) > 0 {
		// Or the new config would count as replaced.
		return others, f.Disk.Remove(backup(path))
	}
	return others, nil
}
