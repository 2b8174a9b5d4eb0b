package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/spanmesh/span/discoveryhttp/storepb"
)

// CheckBolt reads the whole file of a Bolt at path and returns what it holds. The error of a
// damaged file is a *DamageError. If a server has the file open, a copy that the server gives
// is checked.
func CheckBolt(ctx context.Context, path string) (Stats, error) {
	if _, err := os.Stat(path); err != nil {
		return Stats{}, fmt.Errorf("check store: %w", err)
	}
	stats, err := checkFile(path)
	if !errors.Is(err, bolterrors.ErrTimeout) {
		return stats, err
	}
	if stats, err = checkCopy(ctx, path, filepath.Dir(path)); isNoSpace(err) {
		return checkCopy(ctx, path, os.TempDir())
	}
	return stats, err
}

// checkCopy checks a copy that the server gives, in a directory of its own below dir.
func checkCopy(ctx context.Context, path, dir string) (Stats, error) {
	dir, err := os.MkdirTemp(dir, "check.*")
	if err != nil {
		return Stats{}, fmt.Errorf("check a copy of the store: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	to := filepath.Join(dir, filepath.Base(path))
	if err := copyFromServer(ctx, path, to); err != nil {
		return Stats{}, err
	}
	return checkFile(to)
}

// isNoSpace reports whether a disk is full, or what its user may have of it.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// checkFile checks a file that no server has open.
func checkFile(path string) (Stats, error) {
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		return Stats{}, &DamageError{path, errors.New("it is empty")}
	}
	if _, err := inspect(path, askTimeout); err != nil {
		return Stats{}, err
	}
	db, err := openDB(path, true, askTimeout)
	if err != nil {
		return Stats{}, err
	}
	m := NewMemory(Limits{})
	err = db.View(func(tx *bbolt.Tx) error { return (&journal{db: db}).read(tx, m, &storepb.State{}) })
	if err != nil {
		err = damage(path, err)
	}
	return m.Stats(), errors.Join(err, db.Close())
}

// BackupBolt writes a consistent copy of the file of a Bolt at path to another file, mode
// 0600, which it replaces. If a server has the file open, the server gives the copy. The copy
// is checked.
func BackupBolt(ctx context.Context, path, to string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("back up store: %w", err)
	}
	db, err := openDB(path, true, askTimeout)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return copyFromServer(ctx, path, to)
	}
	if err != nil {
		return err
	}
	return errors.Join(replaceFile(to, func(w io.Writer) error { return copyDB(db, w) }), db.Close())
}

// copyDB writes the file as it is now.
func copyDB(db *bbolt.DB, w io.Writer) error {
	return db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
}

// RestoreBolt puts a copy that BackupBolt made in the place of the file at path. No server
// may have that open. The file that was there is moved aside, to a name that is returned,
// empty if there was none.
func RestoreBolt(ctx context.Context, from, path string) (aside string, err error) {
	if _, err := CheckBolt(ctx, from); err != nil {
		return "", err
	}
	path = followLinks(path)
	source, err := os.Open(from)
	if err != nil {
		return "", fmt.Errorf("restore store: %w", err)
	}
	defer func() { _ = source.Close() }()
	// A server must not begin with an empty store because there is no room for the copy.
	written, err := writeFile(path, func(w io.Writer) error {
		_, err := io.Copy(w, source)
		return err
	})
	if err != nil {
		return "", err
	}
	if aside, err = ResetBolt(path); err != nil {
		return "", errors.Join(err, os.Remove(written))
	}
	return aside, place(written, path)
}

// followLinks returns the path of the file that a symbolic link leads to, and any other path as
// it is.
func followLinks(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// ResetBolt moves the file of a Bolt aside, so that OpenBolt begins with an empty one. No
// server may have it open. It returns the new name, empty if there was no file.
func ResetBolt(path string) (aside string, err error) {
	path = followLinks(path)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	db, err := openDB(path, true, askTimeout)
	switch {
	case err == nil:
		if err := db.Close(); err != nil {
			return "", err
		}
	case errors.Is(err, bolterrors.ErrTimeout):
		return "", fmt.Errorf("%w: stop the server first", err)
	}
	// A file that cannot be opened is what a reset is for.
	aside = path + "." + time.Now().UTC().Format("20060102T150405.000")
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("move store aside: %w", err)
	}
	return aside, nil
}

// replaceFile writes a store's file, checks it, and gives it the name to once it is on disk.
func replaceFile(to string, write func(io.Writer) error) error {
	written, err := writeFile(to, write)
	if err != nil {
		return err
	}
	return place(written, to)
}

// writeFile writes a store's file beside to, and checks it once it is on disk. It returns its name.
func writeFile(to string, write func(io.Writer) error) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(to), filepath.Base(to)+".*")
	if err != nil {
		return "", fmt.Errorf("write a copy of the store: %w", err)
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		_, err = checkFile(f.Name())
	}
	if err != nil {
		return "", fmt.Errorf("write a copy of the store: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return f.Name(), nil
}

// place renames a file that is on disk.
func place(name, to string) error {
	if err := os.Rename(name, to); err != nil {
		return fmt.Errorf("write a copy of the store: %w", errors.Join(err, os.Remove(name)))
	}
	return syncDirectory(filepath.Dir(to))
}

// syncDirectory makes a rename durable.
func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
