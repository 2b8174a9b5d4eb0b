package durable

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWriteAndRemove(t *testing.T) {
	var disk Disk
	path := filepath.Join(t.TempDir(), "file")
	// One that was for all to read, and no other place to write to.
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	shared := t.TempDir()
	t.Setenv("TMPDIR", shared)
	before, err := os.Stat(shared)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a", "b"} {
		if err := disk.Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(got) != text || info.Mode().Perm() != 0o600 {
			t.Errorf("there is %q, %v, %v, %v", got, info, err, statErr)
		}
	}
	if after, err := os.Stat(shared); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Error("something was in the shared directory for temporary files")
	}
	for range 2 {
		if err := disk.Remove(path); err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
	if err := disk.Write(filepath.Join(path, "missing", "file"), nil); err == nil {
		t.Error("written into a directory that is not there")
	}
}
