package store

import (
	"context"
	"math"
	"sync/atomic"
)

// Watcher is one watch of one cluster: a place in its Log. One goroutine reads it, by Next, or
// by Peek and Take.
type Watcher struct {
	log  *Log
	stop func()

	// What follows is guarded by log.mu. next is the number of the event to be taken next.
	next uint64
	// place is that among those that are told of the next event; less than 0 for none.
	place  int
	closed bool
	// err is why the watch has ended.
	err error
	// wake is that of Next; nil before its first call.
	wake chan struct{}

	// notify is called when there is something to take.
	notify atomic.Pointer[func()]
}

// Range is changes of a Log that follow each other. It is comparable: the same changes have the
// same range.
type Range struct {
	log        *Log
	first, end uint64
}

// Empty reports whether there are no changes.
func (r Range) Empty() bool { return r.first == r.end }

// End ends the watch with an error. What it has not taken is lost. The first error stays.
func (w *Watcher) End(err error) {
	l := w.log
	l.mu.Lock()
	l.fail(w, err)
	l.trim()
	l.mu.Unlock()
	w.tell()
}

// tell says that there is something to take. log.mu is not held.
func (w *Watcher) tell() {
	if notify := w.notify.Load(); notify != nil {
		(*notify)()
		return
	}
	w.log.mu.Lock()
	wake := w.wake
	w.log.mu.Unlock()
	select {
	case wake <- struct{}{}:
	default:
	}
}

// Notify makes the watcher call f when there is something to take after there was nothing:
// changes, or an end. If there is something already, it calls f now. f must not block; a store
// may hold its lock.
func (w *Watcher) Notify(f func()) {
	w.log.mu.Lock()
	w.notify.Store(&f)
	pending := w.err != nil || w.next < w.log.end()
	w.log.mu.Unlock()
	if pending {
		f()
	}
}

// Peek returns the range of changes that are to be taken next, and the size of their encoding
// in bytes. limit bounds the size in bytes, unless one change has more; it counts in whole
// blocks of BlockSize. The error is what the watch has ended with, such as ErrResync if changes
// were lost.
func (w *Watcher) Peek(limit int) (r Range, size int, err error) {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.err != nil {
		return Range{}, 0, w.err
	}
	blocks := uint64(max(limit/BlockSize, 1))
	r = Range{l, w.next, w.next}
	for i := int(w.next - l.first); i < len(l.events); i++ {
		if l.slots[i].block/blocks != l.slots[w.next-l.first].block/blocks {
			break
		}
		size += l.events[i].Size()
		r.end++
	}
	if r.Empty() {
		l.await(w)
	}
	return r, size, nil
}

// Take takes the changes of a range that Peek has returned. They must not be kept for long: they
// hold affiliates that others may have replaced.
func (w *Watcher) Take(r Range) ([]*Event, error) {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	from, to := int(r.first-l.first), int(r.end-l.first)
	events := l.events[from:to:to]
	l.slots[from].watchers--
	l.slots[to].watchers++
	w.next = r.end
	l.trim()
	return events, nil
}

// Next waits for changes and returns all there are, at least one, in order. It returns the error
// that the watch has ended with, or that of ctx.
func (w *Watcher) Next(ctx context.Context) ([]*Event, error) {
	w.log.mu.Lock()
	if w.wake == nil {
		w.wake = make(chan struct{}, 1)
	}
	w.log.mu.Unlock()
	for {
		r, _, err := w.Peek(math.MaxInt)
		if err != nil {
			return nil, err
		}
		if !r.Empty() {
			return w.Take(r)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.wake:
		}
	}
}

// Close ends the watch.
func (w *Watcher) Close() {
	l := w.log
	l.mu.Lock()
	if !w.closed {
		w.closed = true
		l.fail(w, context.Canceled)
		delete(l.watchers, w)
		l.forget(w)
		l.trim()
		if len(l.watchers) == 0 {
			l.backlog.close(l)
		}
	}
	wake := w.wake
	l.mu.Unlock()
	// Next may be waiting.
	select {
	case wake <- struct{}{}:
	default:
	}
	w.stop()
}
