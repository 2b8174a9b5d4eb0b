package configfile

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/pathwalk"
)

// chain is what decides which files paths lead to.
type chain struct {
	// names are the names that matter in directories, by the directories' paths without links.
	names map[string]map[string]bool
	// files are the paths without links of the files that are there.
	files map[string]bool
}

// chainOf follows paths. readlink reads a link, as os.Readlink does; its error is EINVAL for what is
// there and is no link.
func chainOf(readlink func(path string) (string, error), paths ...string) chain {
	c := chain{names: map[string]map[string]bool{}, files: map[string]bool{}}
	for _, path := range paths {
		c.follow(readlink, path)
	}
	return c
}

// follow adds what decides where an absolute path leads. Where a part is not there, what is to come is
// decided once it is.
func (c chain) follow(readlink func(path string) (string, error), path string) {
	end, err := pathwalk.Follow(path, func(dir, name string) (string, error) {
		if c.names[dir] == nil {
			c.names[dir] = map[string]bool{}
		}
		c.names[dir][name] = true
		target, err := readlink(filepath.Join(dir, name))
		if errors.Is(err, unix.EINVAL) {
			return "", nil
		}
		return target, err
	})
	if err == nil {
		c.files[end] = true
	}
}

// concerns reports whether an event at a path may change what is read.
func (c chain) concerns(path string) bool {
	return c.files[path] || c.names[filepath.Dir(path)][filepath.Base(path)]
}

// paths returns what to watch.
func (c chain) paths() map[string]bool {
	paths := map[string]bool{}
	for dir := range c.names {
		paths[dir] = true
	}
	for file := range c.files {
		paths[file] = true
	}
	return paths
}

// chain follows the paths that the config may be at.
func (f File) chain() chain {
	paths := f.variants()
	if here, err := os.Getwd(); err == nil {
		for i, path := range paths {
			if !filepath.IsAbs(path) {
				paths[i] = here + "/" + path
			}
		}
	}
	return chainOf(os.Readlink, paths...)
}
