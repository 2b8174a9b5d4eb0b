package store

import (
	"errors"
	"os"
	"path/filepath"
)

// createFile puts an empty store at path if nothing is there. bbolt alone would write the first
// pages into a file that has its name already: a loss of power could leave it with some of them,
// as one that is damaged. It reports false if something is there, or if it cannot: without links,
// bbolt creates the file.
func createFile(path string) bool {
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return false
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return false
	}
	err = f.Close()
	if err == nil {
		err = initialize(f.Name())
	}
	if err == nil {
		// Not a rename: another process may have been faster, and has its file open.
		err = os.Link(f.Name(), path)
	}
	return errors.Join(err, os.Remove(f.Name()), syncDirectory(filepath.Dir(path))) == nil
}

// initialize writes the first pages of an empty file to disk.
func initialize(path string) error {
	db, err := openDB(path, false, openTimeout)
	if err != nil {
		return err
	}
	return db.Close()
}
