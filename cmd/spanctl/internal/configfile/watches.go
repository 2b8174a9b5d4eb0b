package configfile

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// watches are the watches of the kernel on what decides which file the config is.
type watches struct {
	file    File
	watcher *fsnotify.Watcher // nil while there is none
	// at has what is watched, by its path.
	at    map[string]inode
	chain chain
}

// inode identifies a file.
type inode struct{ dev, ino uint64 }

// resyncs is how often in a row a chain may change while its watches are made. A later event
// or check goes on.
const resyncs = 5

// update makes the watches those of the present chain. Where the kernel refuses some, the
// others are made.
func (w *watches) update() error {
	if w.watcher == nil {
		watcher, err := fsnotify.NewWatcher()
		if err != nil {
			return err
		}
		w.watcher, w.at = watcher, map[string]inode{}
	}
	var failed error
	for range resyncs {
		w.chain = w.file.chain()
		changed, err := w.match(w.chain.paths())
		if failed = err; !changed {
			break
		}
	}
	return failed
}

// match makes the watches those of paths, and reports whether it made one. Its error is the first.
func (w *watches) match(paths map[string]bool) (made bool, failed error) {
	alive := w.watcher.WatchList()
	for path := range w.at {
		if !paths[path] {
			w.drop(path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		now, err := inodeOf(path)
		if err != nil {
			w.drop(path)
			continue // it is gone; its directory has an event when it is back
		}
		if w.at[path] == now && slices.Contains(alive, path) {
			continue
		}
		w.drop(path)
		switch err := w.watcher.Add(path); {
		case err == nil:
			w.at[path], made = now, true
		case errors.Is(err, fs.ErrNotExist):
			made = true
		case failed == nil:
			failed = fmt.Errorf("watch %s: %w", path, err)
		}
	}
	return made, failed
}

// drop ends a watch. The kernel ended that of a file that is gone.
func (w *watches) drop(path string) {
	_ = w.watcher.Remove(path)
	delete(w.at, path)
}

func inodeOf(path string) (inode, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return inode{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, unix.ENOTSUP
	}
	return inode{stat.Dev, stat.Ino}, nil
}

// close ends all watches.
func (w *watches) close() {
	if w.watcher != nil {
		_ = w.watcher.Close()
		w.watcher = nil
	}
}

// events and errs are nil channels while there is no watcher.
func (w *watches) events() chan fsnotify.Event {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Events
}

func (w *watches) errs() chan error {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Errors
}
