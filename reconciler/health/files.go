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

func judgeFiles(_ time.Time, s *Snapshot) []condition.Condition { return JudgeFiles(s.Files) }

// JudgeFiles returns the conditions of files that others may read or change: one for those of a use
// in a directory.
func JudgeFiles(files []File) []condition.Condition {
	type group struct {
		dir string
		use Use
	}
	var groups []group
	exposed := map[group][]File{}
	for _, f := range files {
		if !f.exposed() {
			continue
		}
		of := group{path.Dir(f.Path), f.Use}
		if len(exposed[of]) == 0 {
			groups = append(groups, of)
		}
		exposed[of] = append(exposed[of], f)
	}
	var found []condition.Condition
	for _, of := range groups {
		found = append(found, exposure(exposed[of]))
	}
	return found
}

// exposed reports whether others may do with the file what they must not. Its group may: the owner
// decides who is in it.
func (f *File) exposed() bool {
	if f.Use == Directory {
		return f.Mode&othersWrite != 0 && f.Mode&fs.ModeSticky == 0
	}
	return f.Mode&(othersRead|othersWrite) != 0
}

// exposure returns the condition of files of one use that are exposed.
func exposure(files []File) condition.Condition {
	first, paths, read := files[0], make([]string, len(files)), false
	for i, f := range files {
		paths[i] = f.Path
		read = read || f.Mode&othersRead != 0
	}
	c := condition.Condition{Code: condition.FilesReadable, Subject: first.Path,
		Cause: fmt.Sprintf("%s has mode %04o: others may %s", first.Path, first.Mode.Perm(), first.misuse())}
	if more := len(files) - 1; more > 0 {
		c.Cause += fmt.Sprintf(", and %d more there", more)
	}
	change, after := "600", ""
	switch {
	case first.Use == Directory:
		change = "o-w"
	case read && first.Use == KeyFile:
		after = "; then `spanctl rotate-key`: who has read it can pass for this machine"
	case read:
		after = "; then change the secret on all machines: who has read it can join the mesh"
	}
	c.Remedy = "`chmod " + change + " " + strings.Join(paths, " ") + "`" + after
	return c
}

// misuse says what others may do with a file that is exposed.
func (f *File) misuse() string {
	switch read, write := f.Mode&othersRead != 0, f.Mode&othersWrite != 0; {
	case f.Use == Directory:
		return "replace its files"
	case read && write:
		return "read and change it"
	case write:
		return "change it"
	default:
		return "read it"
	}
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
