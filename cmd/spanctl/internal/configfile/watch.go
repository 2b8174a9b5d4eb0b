package configfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

const (
	// settleTime is how long the directory must be unchanged before changed is called:
	// editors write, rename and set modes in a row.
	settleTime = 100 * time.Millisecond
	// settleTimeout is how long changes put off that call at most.
	settleTimeout = time.Second
	// writeTimeout is how long a process that has the config open for writing puts it off.
	writeTimeout = 10 * time.Second
)

// Watch calls changed whenever the config may have changed, until ctx ends. Several events
// in a row are one call. It makes the directory if it is missing.
func (f File) Watch(ctx context.Context, changed func()) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the config: %w", err)
	}
	defer func() { _ = watcher.Close() }()
	if err := os.MkdirAll(filepath.Dir(f.path), dirMode); err != nil {
		return fmt.Errorf("make the config's directory: %w", err)
	}
	if err := f.follow(watcher); err != nil {
		return err
	}
	// The config may have changed before the watch began.
	changed()
	for {
		if err := next(ctx, watcher); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if err := f.settle(ctx, watcher); err != nil {
			return err
		}
		if err := f.follow(watcher); err != nil {
			return err
		}
		changed()
	}
}

// follow watches the config's directory and, where the config is a symbolic link, that of
// the file it leads to.
func (f File) follow(watcher *fsnotify.Watcher) error {
	dirs := []string{filepath.Dir(f.path)}
	for _, path := range f.variants() {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(target))
		}
	}
	for _, dir := range dirs {
		if err := watcher.Add(dir); err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	return nil
}

// errClosed does not occur: only Watch closes its watcher.
var errClosed = errors.New("the watch of the config ended")

// next waits for an event. An overflow of the queue counts as one.
func next(ctx context.Context, watcher *fsnotify.Watcher) error {
	select {
	case <-ctx.Done():
		return nil
	case _, ok := <-watcher.Events:
		if !ok {
			return errClosed
		}
		return nil
	case err, ok := <-watcher.Errors:
		if !ok {
			return errClosed
		}
		if errors.Is(err, fsnotify.ErrEventOverflow) {
			return nil
		}
		return fmt.Errorf("watch the config: %w", err)
	}
}

// settle waits until the directory is unchanged for a while and no process writes the
// config: copies over a network, such as by scp, arrive in pieces.
func (f File) settle(ctx context.Context, watcher *fsnotify.Watcher) error {
	busy, stop := context.WithTimeout(ctx, settleTimeout)
	defer stop()
	open, stop := context.WithTimeout(ctx, writeTimeout)
	defer stop()
	for {
		still, stop := context.WithTimeout(ctx, settleTime)
		err := next(still, watcher)
		over := still.Err() != nil || busy.Err() != nil
		stop()
		if err != nil || open.Err() != nil || over && !f.isBeingWritten() {
			return err
		}
	}
}

// isBeingWritten reports whether a process has the config open for writing. The kernel
// refuses a read lease on such a file (fcntl(2), F_SETLEASE). Where the file system has no
// leases, or refuses them to this process, it reports false.
func (f File) isBeingWritten() bool {
	for _, path := range f.variants() {
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		_ = file.Close() // gives the lease back
		return errors.Is(err, unix.EAGAIN)
	}
	return false
}
