package configfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
)

func read(t *testing.T, f configfile.File) (name, text string) {
	t.Helper()
	name, data, err := f.Read()
	if err != nil {
		t.Fatal(err)
	}
	return name, string(data)
}

func TestStoreAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	f := configfile.At(filepath.Join(dir, "machine.cue"))
	if _, _, err := f.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("at first there is %v", err)
	}
	for _, c := range []struct{ name, text, want string }{
		{"a.cue", "// one\n", "machine.cue"},
		{"b.yaml", "# two\n", "machine.yaml"},
		{"c.json", "{}\n", "machine.json"},
		{"d", "// three\n", "machine.cue"},
		{"e.txt", "// four\n", "machine.cue"},
	} {
		path, err := f.Store(c.name, []byte(c.text))
		if err != nil || path != filepath.Join(dir, c.want) || path != f.PathFor(c.name) {
			t.Errorf("%s was stored at %s, %v", c.name, path, err)
		}
		if name, text := read(t, f); name != path || text != c.text {
			t.Errorf("of %+v was read %s, %q", c, name, text)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
}

func TestStoreKeepsALink(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target.cue")
	link := filepath.Join(dir, "machine.cue")
	if err := errors.Join(os.WriteFile(target, nil, 0o600), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	if _, err := configfile.At(link).Store("x.cue", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "new" {
		t.Errorf("the target has %q, %v", text, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
}

func TestStoreWritesNothingTwice(t *testing.T) {
	f := configfile.At(filepath.Join(t.TempDir(), "machine.cue"))
	path, err := f.Store("x.cue", []byte("same"))
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Store("x.cue", []byte("same")); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced by one with the same bytes, %v", err)
	}
}
