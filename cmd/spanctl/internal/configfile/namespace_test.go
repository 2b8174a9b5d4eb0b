package configfile_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/netlinkapply/netnstest"
)

// inside is set in a test that runs in namespaces of its own.
const inside = "CONFIGFILE_TEST_INSIDE"

// inNamespaces runs the rest of a test in a user and a mount namespace of its own. It reports
// whether this process is in them.
func inNamespaces(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = netnstest.Attributes(syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in namespaces: %v\n%s", err, out)
	}
	return false
}

// follower awaits what a watch finds.
type follower struct {
	*testing.T
	path    string
	seen    chan string
	trouble chan error
}

// follow watches a config until the test ends.
func follow(t *testing.T, path string, pace configfile.Pace) *follower {
	t.Helper()
	f := &follower{T: t, path: path, seen: make(chan string, 1000), trouble: make(chan error, 1000)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		configfile.Watch{File: configfile.At(path), Pace: pace, Trouble: func(err error) { f.trouble <- err }, Changed: func(func() bool) {
			data, _ := os.ReadFile(path)
			f.seen <- string(data)
		}}.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

// await waits until the watch has told of a text.
func (f *follower) await(want, what string) {
	f.Helper()
	over := time.After(30 * time.Second)
	for last := "nothing"; ; {
		select {
		case got := <-f.seen:
			if got == want {
				return
			}
			last = got
		case <-over:
			f.Fatalf("after %s, the watch has told of %q, want %q", what, last, want)
		}
	}
}

// onlyEvents leaves a watch nothing but the events of the kernel.
var onlyEvents = configfile.Pace{Check: time.Hour, Alone: time.Hour, Read: time.Hour}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }

func TestWatchLinks(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	at := func(path string) string { return filepath.Join(root, path) }
	must(t, os.MkdirAll(at("data/1"), 0o700), os.MkdirAll(at("data/2"), 0o700), os.MkdirAll(at("store"), 0o700),
		write(at("data/1/m.cue"), "one"), write(at("data/2/m.cue"), "two"), write(at("store/a"), "in the store"),
		os.Symlink("1", at("data/now")), os.Symlink("data/now", at("etc")))
	f := follow(t, at("etc/m.cue"), onlyEvents)
	f.await("one", "the beginning")
	for _, c := range []struct {
		what, want string
		do         func() error
	}{
		{"a switched link to a directory", "two", func() error {
			return errors.Join(os.Symlink("2", at("data/next")), os.Rename(at("data/next"), at("data/now")))
		}},
		{"a write behind it", "three", func() error { return write(at("data/2/m.cue"), "three") }},
		{"the file made a link", "in the store", func() error {
			return errors.Join(os.Symlink("../../store/a", at("data/2/next")), os.Rename(at("data/2/next"), at("data/2/m.cue")))
		}},
		{"a write in the store", "four", func() error { return write(at("store/a"), "four") }},
		{"a directory put in another's place", "one", func() error {
			return errors.Join(os.Rename(at("data"), at("old")), os.MkdirAll(at("new/now"), 0o700), write(at("new/now/m.cue"), "one"), os.Rename(at("new"), at("data")))
		}},
		{"a write in that directory", "five", func() error { return write(at("data/now/m.cue"), "five") }},
		{"the removal of all", "", func() error { return os.RemoveAll(at("data")) }},
		{"a directory and a file that are new", "six", func() error {
			return errors.Join(os.MkdirAll(at("data/now"), 0o700), write(at("data/now/m.cue"), "six"))
		}},
	} {
		must(t, c.do())
		f.await(c.want, c.what)
	}
}

// TestWatchMounts edits a file in place that is mounted over the config, of which the directory
// gives no events, and mounts another, of which nothing does.
func TestWatchMounts(t *testing.T) {
	t.Parallel()
	if !inNamespaces(t) {
		return
	}
	root := t.TempDir()
	path, one, two := filepath.Join(root, "etc", "m.cue"), filepath.Join(root, "one"), filepath.Join(root, "two")
	must(t, os.Mkdir(filepath.Dir(path), 0o700), write(path, "below"), write(one, "one"), write(two, "two"),
		unix.Mount(one, path, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(path, 0); _ = unix.Unmount(path, 0) })
	f := follow(t, path, onlyEvents)
	f.await("one", "the beginning")
	must(t, write(one, "edited in place"))
	f.await("edited in place", "an edit in place")

	f = follow(t, path, configfile.Pace{Check: 20 * time.Millisecond, Alone: time.Hour, Read: time.Hour})
	f.await("edited in place", "the beginning")
	must(t, unix.Mount(two, path, "", unix.MS_BIND, ""))
	f.await("two", "another file mounted over it")
	must(t, write(two, "edited too"))
	f.await("edited too", "an edit in place")
}

// TestWatchWithoutInotify takes the kernel's watches away, and gives them back.
func TestWatchWithoutInotify(t *testing.T) {
	t.Parallel()
	if !inNamespaces(t) {
		return
	}
	for _, c := range []struct {
		limit string
		want  error
	}{{"max_inotify_instances", unix.EMFILE}, {"max_inotify_watches", unix.ENOSPC}} {
		limit := "/proc/sys/user/" + c.limit
		before, err := os.ReadFile(limit)
		must(t, err, os.WriteFile(limit, []byte("0"), 0))
		path := filepath.Join(t.TempDir(), "m.cue")
		must(t, write(path, "one"))
		f := follow(t, path, configfile.Pace{Check: time.Hour, Alone: 20 * time.Millisecond, Read: time.Hour})
		f.await("one", "the beginning")
		if err := <-f.trouble; !errors.Is(err, c.want) {
			t.Errorf("without %s the trouble is %v", c.limit, err)
		}
		must(t, write(path, "two"))
		f.await("two", "a write")
		if n := len(f.trouble); n != 0 {
			t.Errorf("the same trouble was told %d times more", n)
		}
		must(t, os.WriteFile(limit, before, 0))
		if err := <-f.trouble; err != nil {
			t.Errorf("with %s the trouble is %v", c.limit, err)
		}
		must(t, write(path, "three"))
		f.await("three", "a write with watches")
	}
}

// TestWatchReads reads a config again that has changed by no sign.
func TestWatchReads(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "m.cue")
	must(t, write(path, "one"))
	f := follow(t, path, configfile.Pace{Check: 10 * time.Millisecond, Alone: time.Hour, Read: 50 * time.Millisecond})
	for range 3 {
		f.await("one", "a while")
	}
}
