package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFormatFlag(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ flag, file, text, want string }{
		{"", "m.yaml", "machine: {", "m.yaml"},
		{"yaml", "m.yml", "", "m.yml"},
		{"json", "m.yaml", "", "m.yaml (as JSON)"},
		{"", "m.yaml.tmpl", "a:\n  b: 1\n", "m.yaml.tmpl (as YAML)"},
		{"cue", "/dev/fd/63", "{}", "/dev/fd/63 (as CUE)"},
		{"", "-", "a:\n  b: 1\n", "stdin.yaml"},
		{"cue", "-", "{}", "stdin.cue"},
	} {
		if got, err := (formatFlag{c.flag}).name(t.Context(), c.file, []byte(c.text)); got != c.want || err != nil {
			t.Errorf("%s with --format %q is named %q, %v, want %q", c.file, c.flag, got, err, c.want)
		}
	}
	if _, err := (formatFlag{"toml"}).name(t.Context(), "m.yaml", nil); err == nil {
		t.Error("--format toml is taken")
	}
}

// TestReadAny reads pipes without a writer and files without an end.
func TestReadAny(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(path string) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return os.Open(path) }
	}
	ctx, cancel := context.WithCancel(t.Context())
	opening := make(chan struct{})
	read := make(chan error, 1)
	go func() {
		_, err := readAny(ctx, func() (io.ReadCloser, error) { close(opening); return open(pipe)() })
		read <- err
	}()
	<-opening
	cancel()
	if err := <-read; !errors.Is(err, context.Canceled) {
		t.Errorf("of a pipe without a writer the error is %v", err)
	}
	if _, err := readAny(t.Context(), open("/dev/zero")); err == nil || !strings.Contains(err.Error(), "is longer than 4194304 bytes") {
		t.Errorf("of a file without an end the error is %v", err)
	}
	if data, err := readAny(t.Context(), open("/dev/null")); err != nil || data == nil || len(data) > 0 {
		t.Errorf("of an empty file it is %v, %v", data, err)
	}
}
