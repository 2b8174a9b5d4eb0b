package store

import (
	"context"
	"sync"
)

// maxLag is the number of events that a watcher may have queued.
const maxLag = 1024

// Watcher is the queue of events of one watch of one cluster. A store fills it with
// Push and ends it with End or Resync, which are safe for concurrent use. One
// goroutine reads it, by Next or by Take.
type Watcher struct {
	stop func()
	wake chan struct{}

	mu     sync.Mutex
	events []*Event
	// err is why the watch has ended.
	err error
	// notify is called instead of waking Next.
	notify func()
}

// NewWatcher returns a watcher without events. Close calls stop.
func NewWatcher(stop func()) *Watcher { return &Watcher{stop: stop, wake: make(chan struct{}, 1)} }

// Push queues an event. It never blocks. A watcher that has maxLag events queued
// loses them all and must resynchronize.
func (w *Watcher) Push(e *Event) {
	w.mu.Lock()
	first := len(w.events) == 0
	switch {
	case w.err != nil:
		w.mu.Unlock()
		return
	case len(w.events) >= maxLag:
		w.events, w.err = nil, ErrResync
		first = true
	default:
		w.events = append(w.events, e)
	}
	notify := w.notify
	w.mu.Unlock()
	// Whoever reads the first event reads those behind it, too.
	if first {
		w.tell(notify)
	}
}

// End ends the watch with an error. Events that are queued are lost. The first error stays.
func (w *Watcher) End(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.events, w.err = nil, err
	}
	notify := w.notify
	w.mu.Unlock()
	w.tell(notify)
}

// Resync ends the watch with ErrResync. A store calls it when it may have missed
// events.
func (w *Watcher) Resync() { w.End(ErrResync) }

func (w *Watcher) tell(notify func()) {
	if notify != nil {
		notify()
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Notify makes the watcher call f, instead of waking Next, when there is something to take:
// the first event after an empty queue, or an end. If there is something already, it calls f
// now. f must not block; a store may hold its lock.
func (w *Watcher) Notify(f func()) {
	w.mu.Lock()
	w.notify = f
	pending := len(w.events) > 0 || w.err != nil
	w.mu.Unlock()
	if pending {
		f()
	}
}

// Take returns the events that are queued, in order, without waiting; or the error that the
// watch has ended with, such as ErrResync if events were lost.
func (w *Watcher) Take() ([]*Event, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.events
	w.events = nil
	return events, w.err
}

// Next waits for events and returns all that are queued, at least one, in order. It returns
// the error that the watch has ended with, or that of ctx.
func (w *Watcher) Next(ctx context.Context) ([]*Event, error) {
	for {
		events, err := w.Take()
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.wake:
		}
	}
}

// Close ends the watch.
func (w *Watcher) Close() { w.stop() }
