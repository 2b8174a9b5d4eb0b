package files

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNamesAreAsTheUserWouldWriteThem(t *testing.T) {
	dir := t.TempDir()
	for here, want := range map[string]string{
		dir:                     "machine.cue",
		filepath.Dir(dir):       filepath.Join(filepath.Base(dir), "machine.cue"),
		filepath.Join(dir, "a"): filepath.Join(dir, "machine.cue"),
		"/":                     filepath.Join(dir, "machine.cue"),
	} {
		if err := os.MkdirAll(here, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Chdir(here)
		if got := (&Set{}).display(filepath.Join(dir, "machine.cue")); got != want {
			t.Errorf("in %s it is %s, want %s", here, got, want)
		}
	}
}
