package hostsfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// newFile returns a file with a line, and its path.
func newFile(t *testing.T) (f *File, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte("a\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o646); err != nil {
		t.Fatal(err)
	}
	return &File{Path: path, Owner: owner}, path
}

func want(t *testing.T, path, content string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("%s has %q, %v, want %q", path, got, err, content)
	}
	if entries, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(entries) > 0 {
		t.Errorf("left: %v", entries)
	}
}

func set(t *testing.T, f *File, lines []string) {
	t.Helper()
	if err := f.Set(lines); err != nil {
		t.Fatal(err)
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	return s.Ino
}

func TestSetKeepsModeOwnerAndAttributes(t *testing.T) {
	f, path := newFile(t)
	asRoot := os.Geteuid() == 0
	if asRoot {
		if err := os.Chown(path, 7, 8); err != nil {
			t.Fatal(err)
		}
	}
	attributed := unix.Setxattr(path, "user.test", []byte("kept"), 0) == nil
	before := inode(t, path)
	set(t, f, lines)
	want(t, path, "a\n"+block)
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil || s.Mode&0o7777 != 0o646 || asRoot && (s.Uid != 7 || s.Gid != 8) {
		t.Errorf("%o of %d:%d, %v", s.Mode, s.Uid, s.Gid, err)
	}
	if s.Ino == before {
		t.Error("it was written in place")
	}
	value := make([]byte, 16)
	if n, err := unix.Getxattr(path, "user.test", value); attributed && (err != nil || string(value[:n]) != "kept") {
		t.Errorf("the attribute is %q, %v", value[:max(n, 0)], err)
	}
	set(t, f, nil)
	want(t, path, "a\n")
}

func TestSetTwiceWritesOnce(t *testing.T) {
	f, path := newFile(t)
	set(t, f, lines)
	before := inode(t, path)
	set(t, f, lines)
	set(t, &File{Path: path, Owner: owner}, lines) // another process
	if inode(t, path) != before {
		t.Error("it was written again")
	}
	if err := os.WriteFile(path, []byte("b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set(t, f, lines)
	want(t, path, "b\n"+block)
}

func TestSetFollowsLinks(t *testing.T) {
	f, path := newFile(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	f.Path = link
	set(t, f, lines)
	want(t, path, "a\n"+block)
	if target, err := os.Readlink(link); err != nil || target != path {
		t.Errorf("the link is %q, %v", target, err)
	}
}

func TestSetWritesAllNamesOfAFile(t *testing.T) {
	f, path := newFile(t)
	other := filepath.Join(t.TempDir(), "other")
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	set(t, f, lines)
	want(t, other, "a\n"+block)
	set(t, f, nil)
	want(t, other, "a\n")
}

func TestSetWithoutAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	f := &File{Path: path, Owner: owner}
	set(t, f, nil)
	if _, err := os.Stat(path); err == nil {
		t.Error("a file was made for nothing")
	}
	set(t, f, lines)
	want(t, path, block)
}

func TestSetOfWhatIsNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&File{Path: path, Owner: owner}).Set(lines); err == nil {
		t.Error("a pipe was written to")
	}
}

// TestSetOfAMount has a file that is a mount, as in a container: it cannot be renamed over. Later another
// program replaces the file that was mounted.
func TestSetOfAMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	f, path := newFile(t)
	target := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(path, target, "", unix.MS_BIND, ""); err != nil {
		t.Skip("mount: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, 0); err != nil {
			t.Error(err)
		}
	})
	f.Path = target
	set(t, f, lines)
	want(t, path, "a\n"+block)
	set(t, f, nil)
	want(t, path, "a\n")
	fresh := path + ".fresh"
	if err := os.WriteFile(fresh, []byte("b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, path); err != nil {
		t.Fatal(err)
	}
	if err := f.Set(lines); !errors.Is(err, ErrReplaced) {
		t.Errorf("the error is %v", err)
	}
	want(t, path, "b\n")
}
