package configfile_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
)

func TestWatch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not-there-yet")
	path := filepath.Join(dir, "machine.cue")
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan struct{}, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		configfile.Watch{File: configfile.At(path), Changed: func(func() bool) { calls <- struct{}{} }}.Run(ctx)
	}()
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
	<-done
}

// TestWatchWaitsForTheRest has a file come in pieces, as over a slow network, and then
// one that never comes to its end.
func TestWatchWaitsForTheRest(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "machine.cue")
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		configfile.Watch{File: configfile.At(path), Changed: func(func() bool) {
			data, _ := os.ReadFile(path)
			seen <- string(data)
		}}.Run(ctx)
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
	<-done
}

// TestWatchComesAgain has a process begin to write while the config is read.
func TestWatchComesAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "machine.cue")
	if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var file *os.File
	var seen []bool
	configfile.Watch{File: configfile.At(path), Changed: func(whole func() bool) {
		if file == nil {
			var err error
			if file, err = os.Create(path); err != nil {
				t.Error(err)
				cancel()
				return
			}
			time.AfterFunc(time.Second, func() { _ = file.Close() })
		}
		if seen = append(seen, whole()); seen[len(seen)-1] {
			cancel()
		}
	}}.Run(ctx)
	if want := []bool{false, true}; !slices.Equal(seen, want) {
		t.Errorf("whole: %v, want %v", seen, want)
	}
}
