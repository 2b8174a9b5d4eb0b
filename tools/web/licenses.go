package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// library is a package of npm of which some files are kept.
type library struct {
	Name, Version, Licence string
	// Integrity is npm's hash of the package that the files are from.
	Integrity string
	// Files are the SHA-256 hashes of the files by their names.
	Files map[string]string
}

// notice is at the start of every bundle.
const notice = "/*! Made by `make web`. spanctl (Apache-2.0) with preact and uPlot (MIT) and htm (Apache-2.0), see licenses.txt. */"

// libraries returns the libraries after it has checked that their files are those that are
// listed.
func libraries(root string) ([]library, error) {
	directory := filepath.Join(root, "tools/web/libraries")
	text, err := os.ReadFile(filepath.Join(directory, "libraries.json"))
	if err != nil {
		return nil, err
	}
	var all []library
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("libraries.json: %w", err)
	}
	for _, l := range all {
		if err := l.check(filepath.Join(directory, l.Name)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (l library) check(directory string) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(directory, e.Name()))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		if got := hex.EncodeToString(sum[:]); got != l.Files[e.Name()] {
			return fmt.Errorf("%s/%s is not that of %s %s: SHA-256 is %s, not %q",
				l.Name, e.Name(), l.Name, l.Version, got, l.Files[e.Name()])
		}
	}
	if len(entries) != len(l.Files) {
		return fmt.Errorf("%s has %d files, and %d are listed", l.Name, len(entries), len(l.Files))
	}
	return nil
}

// licenses returns the licences of all libraries, as they ask for wherever they are copied.
func licenses(root string) ([]byte, error) {
	all, err := libraries(root)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	for _, l := range all {
		text, err := os.ReadFile(filepath.Join(root, "tools/web/libraries", l.Name, "LICENSE"))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%s %s (%s)\n\n%s\n\n", l.Name, l.Version, l.Licence, strings.TrimSpace(string(text)))
	}
	return []byte(strings.TrimSuffix(out.String(), "\n")), nil
}
