package savefile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/relay/savefile"
)

func TestWriteAndRead(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, "table")
	if content, err := savefile.Read(path, 10); content != nil || err != nil {
		t.Errorf("no file: %q, %v", content, err)
	}
	for _, want := range []string{"first", "second", ""} {
		if err := savefile.Write(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := savefile.Read(path, 6); string(got) != want || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if err := savefile.Write(path, []byte("too long")); err != nil {
		t.Fatal(err)
	}
	if _, err := savefile.Read(path, 7); err == nil {
		t.Error("8 of 7 bytes are read")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := savefile.Write(filepath.Join(directory, "no", "table"), nil); err == nil {
		t.Error("a directory that is not there")
	}
	// What fails leaves nothing behind.
	if names, _ := filepath.Glob(filepath.Join(directory, ".*")); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

func TestKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	made, err := savefile.Key(path)
	if err != nil || made == [32]byte{} {
		t.Fatal(err)
	}
	if again, err := savefile.Key(path); again != made || err != nil {
		t.Errorf("another key: %v", err)
	}
	for _, bad := range []string{"", "x", "AAAA", strings.Repeat("A", 2000)} {
		if err := savefile.Write(path, []byte(bad)); err != nil {
			t.Fatal(err)
		}
		if _, err := savefile.Key(path); err == nil || bad != "" && strings.Contains(err.Error(), bad+" ") {
			t.Errorf("%.10q: %v", bad, err)
		}
	}
}
