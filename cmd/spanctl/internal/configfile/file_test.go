package configfile_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

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
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Errorf("there are %v, %v", files, err)
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

func TestWatch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not-there-yet")
	path := filepath.Join(dir, "machine.cue")
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan struct{}, 100)
	done := make(chan error, 1)
	go func() { done <- configfile.At(path).Watch(ctx, func() { calls <- struct{}{} }) }()
	await := func(what string) {
		t.Helper()
		select {
		case <-calls:
		case <-time.After(30 * time.Second):
			t.Fatal("nothing was told of:", what)
		}
	}
	await("the beginning")
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"a new file", func() error { return os.WriteFile(path, []byte("1"), 0o600) }},
		{"a file written in place", func() error { return os.WriteFile(path, []byte("2"), 0o600) }},
		{"a file renamed over it", func() error {
			return errors.Join(os.WriteFile(path+"~", []byte("3"), 0o600), os.Rename(path+"~", path))
		}},
		{"the file's removal", func() error { return os.Remove(path) }},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		await(c.what)
		if n := len(calls); n != 0 {
			t.Errorf("%s was told of %d times more", c.what, n)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestWatchWaitsForTheRest has a file come in pieces, as over a slow network, and then
// one that never comes to its end.
func TestWatchWaitsForTheRest(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "machine.cue")
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan string, 100)
	done := make(chan error, 1)
	go func() {
		done <- configfile.At(path).Watch(ctx, func() {
			data, _ := os.ReadFile(path)
			seen <- string(data)
		})
	}()
	await := func(want string) {
		t.Helper()
		select {
		case got := <-seen:
			if got != want {
				t.Errorf("the config is %q, want %q", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing was told of %q", want)
		}
	}
	await("")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(piece string) {
		t.Helper()
		if _, err := file.WriteString(piece); err != nil {
			t.Fatal(err)
		}
	}
	write("one,")
	select {
	case got := <-seen:
		t.Errorf("it was told of %q, which is not all", got)
	case <-time.After(time.Second):
	}
	write(" two")
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	await("one, two")

	if file, err = os.Create(path); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	write("one, and")
	await("one, and")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
