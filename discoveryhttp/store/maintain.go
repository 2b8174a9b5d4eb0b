package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// CheckBolt reads the whole file of a Bolt at path and returns what it holds, or what is
// damaged.
func CheckBolt(_ context.Context, path string) (Stats, error) {
	db, err := openReadOnly(path)
	if err != nil {
		return Stats{}, err
	}
	b := &Bolt{memory: NewMemory(Limits{}), db: db}
	err = db.View(func(tx *bbolt.Tx) error {
		var all []error
		for err := range tx.Check() {
			all = append(all, err)
		}
		return errors.Join(all...)
	})
	return b.memory.Stats(), errors.Join(err, db.Close())
}

func openReadOnly(path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: openTimeout, ReadOnly: true})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open store %s: another process has it open", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return db, nil
}

// BackupBolt writes a consistent copy of the file of a Bolt at path to a file, mode 0600,
// which it replaces. A server may have the file open.
func BackupBolt(_ context.Context, path, to string) error {
	db, err := openReadOnly(path)
	if err != nil {
		return err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return replaceFile(to, func(w io.Writer) error {
			_, err := tx.WriteTo(w)
			return err
		})
	})
	return errors.Join(err, db.Close())
}

// RestoreBolt puts a copy that BackupBolt made in the place of the file at path. No server
// may have that open. The file that was there is moved aside, to a name that is returned,
// empty if there was none.
func RestoreBolt(ctx context.Context, from, path string) (aside string, err error) {
	if _, err := CheckBolt(ctx, from); err != nil {
		return "", err
	}
	aside, err = ResetBolt(path)
	if err != nil {
		return "", err
	}
	source, err := os.Open(from)
	if err != nil {
		return aside, err
	}
	defer func() { _ = source.Close() }()
	return aside, replaceFile(path, func(w io.Writer) error {
		_, err := io.Copy(w, source)
		return err
	})
}

// ResetBolt moves the file of a Bolt aside, so that OpenBolt begins with an empty one. It
// returns the new name, empty if there was no file.
func ResetBolt(path string) (aside string, err error) {
	aside = path + time.Now().UTC().Format(".20060102T150405.000Z")
	err = os.Rename(path, aside)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return aside, err
}

// replaceFile writes a file beside to and renames it to that once it is on disk.
func replaceFile(to string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(to), filepath.Base(to)+".*")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), to)
}
