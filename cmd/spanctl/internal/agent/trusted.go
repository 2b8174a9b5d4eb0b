package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spanmesh/span/cmd/spanctl/internal/pathwalk"
)

const (
	// othersMask are the permissions that a file with a token has for nobody else. Its group may read
	// it: the owner decides who is in it.
	othersMask fs.FileMode = 0o006
	// othersWrite lets others put another file in place of one in a directory, unless that is sticky.
	othersWrite fs.FileMode = 0o002
	// unmapped is the user that owners from outside of a user namespace are shown as.
	unmapped = 65534
)

// checkTrusted returns an error unless root and this process' user alone, with the groups of their
// files, decide what the file at a path has: they own it, and the directories and symbolic links that
// lead to it, and others can write none of those.
func checkTrusted(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	_, err = pathwalk.Follow(path, func(dir, name string) (string, error) {
		next := filepath.Join(dir, name)
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		if err := checkOwned(next, info); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return "", err
		}
		return os.Readlink(next)
	})
	if errors.Is(err, syscall.ELOOP) {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return err
}

// checkOwned checks one part of a path.
func checkOwned(path string, info fs.FileInfo) error {
	stat, is := info.Sys().(*syscall.Stat_t)
	if !is {
		return nil // there are no owners
	}
	outside := info.IsDir() && stat.Uid == unmapped && !isMapped(unmapped)
	if stat.Uid != 0 && int(stat.Uid) != os.Geteuid() && !outside {
		return &tokenError{fmt.Sprintf("%s belongs to user %d, who may change the token", path, stat.Uid),
			fmt.Sprintf("`chown root %s`, and write another token", path)}
	}
	mode := info.Mode()
	switch {
	case info.IsDir() && mode&othersWrite != 0 && mode&fs.ModeSticky == 0:
		return &tokenError{fmt.Sprintf("%s has mode %04o: others may change the token", path, mode.Perm()),
			fmt.Sprintf("`chmod o-w %s`, and write another token", path)}
	case mode.IsRegular() && mode&othersMask != 0:
		return &tokenError{fmt.Sprintf("%s has mode %04o: others may read or change the token", path, mode.Perm()),
			fmt.Sprintf("`chmod 600 %s`, and write another token to it", path)}
	}
	return nil
}

// isMapped reports whether the user namespace of this process has a user.
func isMapped(uid uint64) bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		first, _ := strconv.ParseUint(fields[0], 10, 32)
		count, _ := strconv.ParseUint(fields[2], 10, 32)
		if uid >= first && uid-first < count {
			return true
		}
	}
	return false
}
