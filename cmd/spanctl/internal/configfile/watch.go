package configfile

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

const (
	// settleTime is how long the config must be unchanged before Changed is called: editors
	// write, rename and set modes in a row.
	settleTime = 100 * time.Millisecond
	// settleTimeout is how long changes put off that call at most.
	settleTimeout = time.Second
	// writeTimeout is how long a process that has the config open for writing puts it off.
	writeTimeout = 10 * time.Second
)

// Pace is how often a config is checked for changes without an event of the kernel.
type Pace struct {
	// Check is how often the times and the size of the file are read. Network file systems
	// and what is mounted over the file give no events.
	Check time.Duration
	// Alone is the same where the kernel gives no watches.
	Alone time.Duration
	// Read is how often the file itself is read: some file systems keep coarse times.
	Read time.Duration
}

// usual is the pace where none is set.
var usual = Pace{Check: 30 * time.Second, Alone: 2 * time.Second, Read: 5 * time.Minute}

// Watch follows the changes of a config.
type Watch struct {
	File File
	// Changed is called whenever the config may have changed. Several events in a row are
	// one call. After it has read the config, whole reports whether no process writes it. If one
	// does, what was read may be a part: Changed is called again.
	Changed func(whole func() bool)
	// Trouble is called with the error of the kernel's watches, and with nil once they work
	// again. It may be nil.
	Trouble func(error)
	// Pace is usual if it is zero.
	Pace Pace
}

// Run follows the config until ctx ends. It makes the directory if it is missing.
func (w Watch) Run(ctx context.Context) {
	w.Pace = cmp.Or(w.Pace, usual)
	_ = os.MkdirAll(filepath.Dir(w.File.path), dirMode) // Store reports why it cannot
	on := &watching{Watch: w, watches: watches{file: w.File}}
	defer on.close()
	for on.look(ctx, true); ; {
		seen := on.next(ctx, on.pause())
		if ctx.Err() != nil {
			return
		}
		if !seen && !on.isDue() {
			on.update()
			continue
		}
		on.look(ctx, on.settle(ctx))
	}
}

// watching is the state of a Watch.
type watching struct {
	Watch
	watches
	// trouble is the text of the error of the watches.
	trouble string
	// last is the stamp when Changed was called last, and read is the time of that.
	last stamp
	read time.Time
}

// look calls Changed, again while it finds that a process writes the config, unless that was waited
// for in vain.
func (w *watching) look(ctx context.Context, settled bool) {
	for whole := false; !whole && ctx.Err() == nil; {
		// A change after this gives an event, or another stamp.
		w.update()
		w.last, w.read = w.File.stamp(), time.Now()
		whole = true
		w.Changed(func() bool {
			whole = !settled || !w.File.isBeingWritten()
			return whole
		})
		if !whole {
			settled = w.settle(ctx)
		}
	}
}

// update makes the watches fit, and reports trouble once.
func (w *watching) update() {
	err := w.watches.update()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != w.trouble && w.Trouble != nil {
		w.Trouble(err)
	}
	w.trouble = text
}

// pause is how long an event is waited for.
func (w *watching) pause() time.Duration {
	if w.trouble != "" {
		return w.Pace.Alone
	}
	return w.Pace.Check
}

// isDue reports whether the config is to be read without an event.
func (w *watching) isDue() bool {
	return w.File.stamp() != w.last || time.Since(w.read) >= w.Pace.Read
}

// next waits for an event that concerns the config, and reports whether there was one. An overflow
// of the queue counts as one.
func (w *watching) next(ctx context.Context, within time.Duration) bool {
	over := time.NewTimer(within)
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-over.C:
			return false
		case event := <-w.events():
			if w.chain.concerns(event.Name) {
				return true
			}
		case err := <-w.errs():
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				w.close() // update makes another
			}
			return true
		}
	}
}

// settle waits until the config is unchanged for a while and no process writes it: copies over a
// network, such as by scp, arrive in pieces. It reports false if that took too long.
func (w *watching) settle(ctx context.Context) bool {
	begin := time.Now()
	for ctx.Err() == nil {
		more := w.next(ctx, settleTime)
		took := time.Since(begin)
		if (!more || took >= settleTimeout) && !w.File.isBeingWritten() {
			return true
		}
		if took >= writeTimeout {
			return false
		}
	}
	return false
}

// isBeingWritten reports whether a process has the config open for writing. The kernel
// refuses a read lease on such a file (fcntl(2), F_SETLEASE). Where the file system has no
// leases, or refuses them to this process, it reports false.
func (f File) isBeingWritten() bool {
	for _, path := range f.variants() {
		file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != nil {
			continue
		}
		_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		_ = file.Close() // gives the lease back
		return errors.Is(err, unix.EAGAIN)
	}
	return false
}
