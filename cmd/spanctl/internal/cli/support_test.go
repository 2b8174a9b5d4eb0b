package cli

import (
	"archive/zip"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSupportDoesNotWaitForAnAgentThatHangs makes a bundle where an agent accepts calls and answers
// none: it has what the kernel shows.
func TestSupportDoesNotWaitForAnAgentThatHangs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // connections wait in its backlog
	path := filepath.Join(dir, "bundle.zip")
	var out, errs strings.Builder
	if status := Main([]string{"support", "--socket", filepath.Join(dir, "s"), "-o", path}, strings.NewReader(""), &out, &errs); status != exitOK {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	for _, name := range []string{"README.txt", "kernel/sysctls.txt", "versions.txt"} {
		if !slices.ContainsFunc(archive.File, func(f *zip.File) bool { return f.Name == name }) {
			t.Errorf("%s is missing", name)
		}
	}
	if !strings.Contains(errs.String(), "missing or not complete:") {
		t.Errorf("what is missing is not said: %q", errs.String())
	}
}
