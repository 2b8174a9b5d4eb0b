package configfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links in a row are followed, as the kernel does (path_resolution(7)).
const maxLinks = 40

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

// follow adds what decides where an absolute path leads.
func (c chain) follow(readlink func(path string) (string, error), path string) {
	here, rest, links := "/", split(path), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			here = filepath.Dir(here)
			continue
		}
		if c.names[here] == nil {
			c.names[here] = map[string]bool{}
		}
		c.names[here][name] = true
		target, err := readlink(filepath.Join(here, name))
		switch {
		case errors.Is(err, unix.EINVAL):
			here = filepath.Join(here, name)
			continue
		case err != nil:
			return // what is to come is decided once the name is there
		}
		if links++; links > maxLinks {
			return
		}
		if filepath.IsAbs(target) {
			here = "/"
		}
		rest = append(split(target), rest...)
	}
	c.files[here] = true
}

// split returns the names in a path. Those of a path are not cleaned: ".." after a link leads to
// the parent of what the link leads to.
func split(path string) (names []string) {
	for name := range strings.SplitSeq(path, "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
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
