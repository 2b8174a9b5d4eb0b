package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/spanmesh/span/cmd/spanctl/internal/regular"
)

// writeFile writes a file whole or not at all. It takes the place of a file that is there; a device,
// a pipe or a symbolic link is left as it is, with an error.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	info, err := os.Lstat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("write %s: it is %s: want a file", path, regular.Kind(info.Mode()))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("write %s: %w", path, err)
	}
	// The temporary file is in the same directory, where its name has another ending.
	if err := renameio.WriteFile(path, data, mode, renameio.WithTempDir(filepath.Dir(path)), renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
