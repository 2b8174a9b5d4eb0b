// Package durable writes files that outlive a loss of power: each is written to a
// temporary file, synced, renamed over the old one, and the directory is synced. A
// reader, and a machine that starts again, has the old file or the new one, never a
// mixture; once a function has returned, it is the new one.
//
// The functions may be called concurrently.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// mode is that of every file: for its owner alone.
const mode = 0o600

// Write makes data the content of the file at path.
func Write(path string, data []byte) (err error) {
	// Beside the file: what is in it may be secret, and is nothing for a directory that
	// all share. The mode of an old file is not taken over.
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(mode), renameio.IgnoreUmask())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, file.Cleanup()) }()
	if _, err := file.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(path)
}

// Remove takes the file at path away, if it is there.
func Remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return syncDir(path)
}

// syncDir makes the names in the directory of path durable (fsync(2): to sync a file
// does not sync its entry).
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("sync the directory of %s: %w", path, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync the directory of %s: %w", path, err)
	}
	return nil
}
