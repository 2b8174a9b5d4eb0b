package configfile_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
)

// directory returns the files of a directory with their contents.
func directory(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

// TestSeveralConfigsAreAnErrorThatNamesThem tries each set of two or more formats.
func TestSeveralConfigsAreAnErrorThatNamesThem(t *testing.T) {
	formats := []string{".cue", ".yaml", ".yml", ".json"}
	for set := range 1 << len(formats) {
		dir := t.TempDir()
		var names []string
		for i, format := range formats {
			if set&(1<<i) != 0 {
				names = append(names, "machine"+format)
				if err := os.WriteFile(filepath.Join(dir, "machine"+format), []byte(format), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(names) < 2 {
			continue
		}
		f := configfile.At(filepath.Join(dir, "machine.yaml"))
		before := directory(t, dir)
		_, _, readErr := f.Read()
		_, storeErr := f.Store("new.yml", []byte("new"))
		for _, err := range []error{readErr, storeErr} {
			if err == nil {
				t.Fatalf("with %v there is no error", names)
			}
			for _, name := range names {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("with %v the error is %v", names, err)
				}
			}
		}
		if after := directory(t, dir); !maps.Equal(before, after) {
			t.Errorf("%v became %v", before, after)
		}
		// What comes back after a trial does so, and keeps all.
		path, err := f.Restore("old.cue", []byte("old"))
		if err != nil {
			t.Fatal(err)
		}
		if name, text := read(t, f); name != path || text != "old" {
			t.Errorf("%s has %q", name, text)
		}
		after := directory(t, dir)
		for _, name := range names {
			if name != "machine.cue" && after[name+".bak"] != filepath.Ext(name) {
				t.Errorf("%s was not kept: there are %v", name, after)
			}
		}
	}
}

// TestAReplacedFormatIsKept goes through the formats and back, with the same content at times.
func TestAReplacedFormatIsKept(t *testing.T) {
	dir := t.TempDir()
	f := configfile.At(filepath.Join(dir, "machine.cue"))
	last := ""
	for i, c := range []struct{ name, text string }{
		{"a.cue", "one"}, {"a.yaml", "two"}, {"a.cue", "one"}, {"a.yaml", "one"}, {"a.json", "three"}, {"a.json", "four"}, {"a.yml", "five"}, {"a.yaml", "one"},
	} {
		path, err := f.Store(c.name, []byte(c.text))
		if err != nil {
			t.Fatal(i, err)
		}
		if name, text := read(t, f); name != path || text != c.text {
			t.Errorf("step %d: %s has %q", i, name, text)
		}
		files := directory(t, dir)
		configs := slices.DeleteFunc(slices.Collect(maps.Keys(files)), func(name string) bool { return strings.Contains(name, ".bak") })
		if len(configs) != 1 {
			t.Errorf("step %d: there are %v", i, files)
		}
		if last != "" && filepath.Base(last) != configs[0] && files[filepath.Base(last)+".bak"] == "" {
			t.Errorf("step %d: %s was not kept: there are %v", i, last, files)
		}
		last = path
	}
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestABackupIsKept replaces configs beside backups with other contents, and what is no backup.
func TestABackupIsKept(t *testing.T) {
	dir := t.TempDir()
	f := configfile.At(filepath.Join(dir, "machine.cue"))
	if err := os.WriteFile(filepath.Join(dir, "machine.yaml.bak"), []byte("the user's"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		for _, name := range []string{"a.yaml", "a.json"} {
			if _, err := f.Store(name, []byte{byte('0' + i/2)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := map[string]string{"machine.json": "1", "machine.yaml.bak": "1", "machine.yaml.bak.1": "the user's", "machine.yaml.bak.2": "0", "machine.json.bak.1": "0"}
	got := directory(t, dir)
	if !maps.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	// A directory in the place of the backup.
	if err := os.MkdirAll(filepath.Join(dir, "machine.json.bak", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Store("a.cue", []byte("2")); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "machine.json.bak")); err != nil || string(data) != "1" {
		t.Errorf("the backup is %q, %v", data, err)
	}
	// However often it goes on, there are so many.
	for i := range 40 {
		name := "a.yaml"
		if i%2 == 0 {
			name = "a.json"
		}
		if _, err := f.Store(name, []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := filepath.Glob(filepath.Join(dir, "machine.yaml.bak*"))
	if err != nil || len(all) != 10 {
		t.Errorf("there are %v, %v", all, err)
	}
}

// TestClosedDirectoryHasNoSeveralConfigs reads as a user who may not look into the directory.
func TestClosedDirectoryHasNoSeveralConfigs(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	read := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this function, and its user with it
		if os.Geteuid() == 0 {
			const nobody = 65534
			if err := unix.Setfsuid(nobody); err != nil {
				read <- err
				return
			}
		}
		_, _, err := configfile.At(filepath.Join(dir, "machine.cue")).Read()
		read <- err
	}()
	if err := <-read; !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "several") {
		t.Errorf("the error is %v", err)
	}
}
