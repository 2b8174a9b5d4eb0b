package health

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
)

// Known is what is known of an agent's files. Without an agent it is zero.
type Known struct {
	// Config is that in the file; nil as long as that is not known.
	Config *Config
	// Files are those that others must not read or change.
	Files []File
	// Disk is that of the state directory.
	Disk Disk
}

// File is a file or directory that others must not read, or not change.
type File struct {
	Path string
	Mode fs.FileMode
	Use  Use
}

// Use is what a File is for.
type Use int

// The uses of files.
const (
	// SecretFile has a secret that all machines share.
	SecretFile Use = iota
	// KeyFile has this machine's private key.
	KeyFile
	// Directory has files that others must not replace.
	Directory
)

const (
	othersRead  fs.FileMode = 0o004
	othersWrite fs.FileMode = 0o002
)

// judgeFiles returns the conditions of files that others may read or change: one for those of a use
// in a directory.
func judgeFiles(_ time.Time, s *Snapshot) []condition.Condition {
	type group struct {
		dir string
		use Use
	}
	var found []condition.Condition
	first, more := map[group]int{}, map[group]int{}
	for _, f := range s.Files {
		c, is := exposure(f)
		if !is {
			continue
		}
		of := group{path.Dir(f.Path), f.Use}
		if _, another := first[of]; another {
			more[of]++
			continue
		}
		first[of] = len(found)
		found = append(found, c)
	}
	for of, n := range more {
		c := &found[first[of]]
		c.Cause += fmt.Sprintf(", and %d more there", n)
		c.Remedy = strings.Replace(c.Remedy, c.Subject, of.dir+"/*", 1)
	}
	return found
}

func exposure(f File) (c condition.Condition, is bool) {
	c = condition.Condition{Code: condition.FilesReadable, Subject: f.Path}
	mode := f.Mode.Perm()
	if f.Use == Directory {
		c.Cause = fmt.Sprintf("%s has mode %04o: others may replace its files", f.Path, mode)
		c.Remedy = "`chmod o-w " + f.Path + "`"
		return c, mode&othersWrite != 0 && f.Mode&fs.ModeSticky == 0
	}
	what := "read"
	switch {
	case mode&othersRead != 0 && mode&othersWrite != 0:
		what = "read and change"
	case mode&othersWrite != 0:
		what = "change"
	}
	c.Cause = fmt.Sprintf("%s has mode %04o: others may %s it", f.Path, mode, what)
	c.Remedy = "`chmod 600 " + f.Path + "`"
	if mode&othersRead != 0 {
		c.Remedy += "; then change the secret on all machines: who has read it can join the mesh"
		if f.Use == KeyFile {
			c.Remedy = "`chmod 600 " + f.Path + "`; then `spanctl rotate-key`: who has read it can pass for this machine"
		}
	}
	return c, mode&(othersRead|othersWrite) != 0
}

// Disk is what the state directory is on.
type Disk struct {
	// Path is the path of the directory.
	Path string
	// Refusal is why it cannot be written; 0 if it can.
	Refusal syscall.Errno
}

// judgeDisk returns the condition of a state directory that cannot be written.
func judgeDisk(_ time.Time, s *Snapshot) []condition.Condition {
	if s.Disk.Refusal == 0 {
		return nil
	}
	return []condition.Condition{Unwritable(s.Disk.Path, s.Disk.Refusal)}
}

// Unwritable returns the condition of the state directory at path that the kernel refuses to write.
func Unwritable(path string, why syscall.Errno) condition.Condition {
	c := condition.Condition{Code: condition.StateUnwritable, Subject: path, Cause: path + " cannot be written: " + why.Error()}
	switch why {
	case syscall.ENOSPC:
		c.Remedy = "make room on its disk: `df " + path + "` and `df -i " + path + "` show what is free"
	case syscall.EDQUOT:
		c.Remedy = "raise the quota of its owner, or make room"
	case syscall.EROFS:
		c.Remedy = "mount its disk writable; where the kernel made it read-only, `dmesg` has why; in a unit, name it in StateDirectory= or ReadWritePaths="
	case syscall.EIO:
		c.Remedy = "look at the disk: `dmesg` has its errors"
	case syscall.ENOENT:
		c.Cause = path + " was removed while the agent runs"
		c.Remedy = "restore it from a backup and restart the agent, which leaves the mesh up; without one, the machine gets a new identity"
	default:
		c.Remedy = "give it to the user that the agent runs as, with mode 0700"
	}
	return c
}
