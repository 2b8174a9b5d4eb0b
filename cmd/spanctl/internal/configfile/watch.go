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
	// quiet is how long the directory must be still before a change counts:
	// editors write, rename and set modes in a row.
	quiet = 100 * time.Millisecond
	// patience is how long a change waits for stillness at most.
	patience = time.Second
	// writing is how long a change waits for whoever has the file open to write it.
	writing = 10 * time.Second
)

// Watch calls changed whenever the config may have changed, until ctx ends.
// Several events in a row are one call. The directory is made if need be.
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
	// What changed before the watch began is not missed.
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

// follow watches the config's directory and, where the config is a link, the
// one that it leads to.
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

// errClosed is not met: only Watch closes its watcher.
var errClosed = errors.New("the watch of the config ended")

// next waits for an event. An overflow of the queue is one too.
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

// settle waits until the directory is still and the config is written to its end: what
// comes over a network, such as with scp, comes in pieces.
func (f File) settle(ctx context.Context, watcher *fsnotify.Watcher) error {
	busy, stop := context.WithTimeout(ctx, patience)
	defer stop()
	open, stop := context.WithTimeout(ctx, writing)
	defer stop()
	for {
		still, stop := context.WithTimeout(ctx, quiet)
		err := next(still, watcher)
		over := still.Err() != nil || busy.Err() != nil
		stop()
		if err != nil || open.Err() != nil || over && !f.isBeingWritten() {
			return err
		}
	}
}

// isBeingWritten tells whether a process has the config open for writing. No such file
// gets a read lease (fcntl(2), F_SETLEASE); where the file system has none to give, or
// to us, it counts as written.
func (f File) isBeingWritten() bool {
	for _, path := range f.variants() {
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		_ = file.Close() // which gives the lease back
		return errors.Is(err, unix.EAGAIN)
	}
	return false
}
