package hostsfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// maxSize bounds the size of the file, in bytes.
const maxSize = 32 << 20

// File is a file with a block.
type File struct {
	// Path may lead to the file by symbolic links.
	Path string
	// Owner is whose block is meant. It has no line break.
	Owner string

	// lines are those of the last Set, and seen is what the file was after it.
	lines []string
	seen  fingerprint
}

// fingerprint is what changes with a file's content.
type fingerprint struct {
	device, inode uint64
	size          int64
	changed       unix.Timespec
}

func fingerprintOf(s *unix.Stat_t) fingerprint {
	return fingerprint{device: uint64(s.Dev), inode: s.Ino, size: s.Size, changed: s.Ctim} //nolint:unconvert // Dev has other sizes elsewhere
}

// ErrReplaced is the error of a file that is not the one that others see any more: the mount that leads
// this process to it was made before another program put a new file in its place.
var ErrReplaced = errors.New("another program has replaced it, and this process is still shown the file from before")

// Set makes the lines those of the block, or removes it if there are none. It writes nothing where that is
// so already. A file that does not exist is made, if there are lines.
func (f *File) Set(lines []string) error {
	var now unix.Stat_t
	if unix.Stat(f.Path, &now) == nil && now.Nlink > 0 && fingerprintOf(&now) == f.seen && slices.Equal(lines, f.lines) {
		return nil
	}
	if err := f.set(lines); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	f.lines, f.seen = slices.Clone(lines), fingerprint{}
	if unix.Stat(f.Path, &now) == nil {
		f.seen = fingerprintOf(&now)
	}
	return nil
}

func (f *File) set(lines []string) error {
	path, err := filepath.EvalSymlinks(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if len(lines) == 0 {
			return nil
		}
		return os.WriteFile(f.Path, Edit(nil, f.Owner, lines), 0o644)
	}
	if err != nil {
		return err
	}
	content, stat, err := read(path)
	if err != nil {
		return err
	}
	edited := Edit(content, f.Owner, lines)
	switch {
	case bytes.Equal(content, edited):
		return nil
	case stat.Nlink == 0:
		return ErrReplaced
	case stat.Nlink == 1 && replace(path, edited, &stat) == nil:
		return nil
	}
	// The file is a mount, as in a container, its directory cannot be written to, or it has other names.
	return overwrite(path, content, edited)
}

// read returns the content of a regular file, and what it is.
func read(path string) (content []byte, stat unix.Stat_t, err error) {
	// A device or a pipe would be waited for.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, stat, err
	}
	defer func() { _ = file.Close() }() // it was read
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return nil, stat, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, stat, errors.New("it is not a regular file")
	}
	content, err = io.ReadAll(io.LimitReader(file, maxSize+1))
	if err == nil && len(content) > maxSize {
		err = fmt.Errorf("it has more than %d MiB", maxSize>>20)
	}
	return content, stat, err
}

// replace puts a new file in the place of one, with its mode, owner and attributes.
func replace(path string, content []byte, stat *unix.Stat_t) (err error) {
	temporary := filepath.Join(filepath.Dir(path), ".spanctl."+filepath.Base(path))
	_ = os.Remove(temporary) // that of a process that was killed
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary)
		}
	}()
	_, err = file.Write(content)
	err = errors.Join(err, copyAttributes(path, file, stat))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// copyAttributes gives a file the mode, owner and extended attributes of another one, such as its SELinux
// context.
func copyAttributes(from string, to *os.File, stat *unix.Stat_t) error {
	fd := int(to.Fd())
	if os.Geteuid() != int(stat.Uid) || os.Getegid() != int(stat.Gid) {
		if err := unix.Fchown(fd, int(stat.Uid), int(stat.Gid)); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(fd, stat.Mode&0o7777); err != nil {
		return err
	}
	names := make([]byte, 64<<10)
	n, err := unix.Listxattr(from, names)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	value := make([]byte, 64<<10)
	for name := range bytes.SplitSeq(names[:n], []byte{0}) {
		if len(name) == 0 {
			continue
		}
		n, err := unix.Getxattr(from, string(name), value)
		if err != nil {
			return err
		}
		if err := unix.Fsetxattr(fd, string(name), value[:n], 0); err != nil {
			return err
		}
	}
	return nil
}

// overwrite writes into a file what differs from its content.
func overwrite(path string, content, edited []byte) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	same := 0
	for same < len(content) && same < len(edited) && content[same] == edited[same] {
		same++
	}
	if _, err = file.WriteAt(edited[same:], int64(same)); err == nil {
		err = file.Truncate(int64(len(edited)))
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
