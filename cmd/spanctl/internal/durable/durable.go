// Package durable writes files that survive a loss of power. A file is written to a
// temporary file, synced and renamed over the old one; then the directory is synced. A
// reader sees the old content or the new, never a mixture. Once a method has returned, a
// machine that starts again has the new content.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// mode is the mode of every file: only its owner may read it.
const mode = 0o600

// Step is one operation on the disk.
type Step string

// The steps, in the order in which Write takes them.
const (
	Create  Step = "create"
	Fill    Step = "fill"
	Replace Step = "replace" // syncs the file, then renames it
	SyncDir Step = "sync the directory"
	Unlink  Step = "unlink"
)

// Disk writes files. The zero value is ready. A Disk may be used concurrently.
type Disk struct {
	// Before is called before each step; nil for no call. If it returns an error, the step
	// is not done, but for Fill, which then writes half of the data. Tests use it to
	// simulate a loss of power.
	Before func(step Step, path string) error
}

func (d Disk) before(step Step, path string) error {
	if d.Before == nil {
		return nil
	}
	return d.Before(step, path)
}

// Write makes data the content of the file at path.
func (d Disk) Write(path string, data []byte) error {
	if err := d.write(path, data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return d.syncDir(path)
}

func (d Disk) write(path string, data []byte) (err error) {
	if err := d.before(Create, path); err != nil {
		return err
	}
	// In the file's own directory: the content may be secret, and TMPDIR is shared. The
	// mode of an old file is not taken over.
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(mode), renameio.IgnoreUmask())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Cleanup()) }()
	if err := d.before(Fill, path); err != nil {
		_, _ = file.Write(data[:len(data)/2])
		return err
	}
	if _, err := file.Write(data); err != nil {
		return err
	}
	if err := d.before(Replace, path); err != nil {
		return err
	}
	return file.CloseAtomicallyReplace()
}

// Rename makes the file at from, which Write wrote into the same directory, the one at to. It
// needs no space on the disk.
func (d Disk) Rename(from, to string) error {
	if err := d.before(Replace, to); err != nil {
		return fmt.Errorf("rename %s: %w", from, err)
	}
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return d.syncDir(to)
}

// Remove removes the file at path, if it exists.
func (d Disk) Remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := d.before(Unlink, path); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return d.syncDir(path)
}

// syncDir makes the directory entry of path durable; syncing the file does not (fsync(2)).
func (d Disk) syncDir(path string) error {
	err := d.before(SyncDir, path)
	if err != nil {
		return fmt.Errorf("sync the directory of %s: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("sync the directory of %s: %w", path, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync the directory of %s: %w", path, err)
	}
	return nil
}
