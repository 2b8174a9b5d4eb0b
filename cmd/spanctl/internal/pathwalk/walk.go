// Package pathwalk follows paths through symbolic links as the kernel does (path_resolution(7)).
package pathwalk

import (
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links are followed.
const maxLinks = 40

// Follow calls look for each part of an absolute path, from the first, in the directory that it is in.
// look returns the target of a symbolic link, "" for what is none, or an error, which ends the walk.
// Follow returns the path without links. Its error is that of look, or ELOOP.
//
// The parts of a path are not cleaned: ".." after a link leads to the parent of its target.
func Follow(path string, look func(dir, name string) (target string, err error)) (end string, err error) {
	here, rest, links := "/", split(path), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			here = filepath.Dir(here)
			continue
		}
		target, err := look(here, name)
		switch {
		case err != nil:
			return "", err
		case target == "":
			here = filepath.Join(here, name)
			continue
		}
		if links++; links > maxLinks {
			return "", syscall.ELOOP
		}
		if filepath.IsAbs(target) {
			here = "/"
		}
		rest = append(split(target), rest...)
	}
	return here, nil
}

func split(path string) (names []string) {
	for name := range strings.SplitSeq(path, "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
}
