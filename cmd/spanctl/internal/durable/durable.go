// Package durable writes files that outlive a loss of power: each is written to a
// temporary file, synced, renamed over the old one, and the directory is synced. A
// reader, and a machine that starts again, has the old file or the new one, never a
// mixture; once a method has returned, it is the new one.
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

// Step is one thing that is done to the disk.
type Step string

// The steps, in the order in which Write takes them.
const (
	Create  Step = "create"
	Fill    Step = "fill"
	Replace Step = "replace" // syncs the file, then renames it
	SyncDir Step = "sync the directory"
	Unlink  Step = "unlink"
)

// Disk writes files. The zero value does so as it should. A Disk may be used
// concurrently.
type Disk struct {
	// Before is called before each step, which is not taken if it returns an error: of
	// what is to be filled in, half is then. Tests lose power so.
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
	// Beside the file: what is in it may be secret, and is nothing for a directory that
	// all share. The mode of an old file is not taken over.
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

// Remove takes the file at path away, if it is there.
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

// syncDir makes the names in the directory of path durable (fsync(2): to sync a file
// does not sync its entry).
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
