package store

import (
	"context"
	"sync"
)

// maxLag is the number of events that a watcher may have queued.
const maxLag = 4096

// Watcher is the queue of events of one watch of one cluster. A store fills it
// with Push, Resync and End, which are safe for concurrent use. Next is for one
// goroutine.
type Watcher struct {
	stop func()
	wake chan struct{}

	mu     sync.Mutex
	events []*Event
	// end is the error of Next once the watch has ended.
	end error
}

// NewWatcher returns a watcher without events. Close calls stop.
func NewWatcher(stop func()) *Watcher { return &Watcher{stop: stop, wake: make(chan struct{}, 1)} }

// Push queues an event. It never blocks. A watcher that has maxLag events queued
// loses them all and must resynchronize.
func (w *Watcher) Push(e *Event) {
	w.mu.Lock()
	if len(w.events) >= maxLag {
		w.events, w.end = nil, ErrResync
	}
	if w.end == nil {
		w.events = append(w.events, e)
	}
	w.mu.Unlock()
	w.notify()
}

// Resync makes Next return ErrResync from now on. A store calls it when it may
// have missed events.
func (w *Watcher) Resync() { w.End(ErrResync) }

// End makes Next return err from now on.
func (w *Watcher) End(err error) {
	w.mu.Lock()
	w.events, w.end = nil, err
	w.mu.Unlock()
	w.notify()
}

func (w *Watcher) notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Next waits for events and returns all that are queued, at least one, in order.
// It returns ErrResync if events were lost, the error of End, or that of ctx.
func (w *Watcher) Next(ctx context.Context) ([]*Event, error) {
	for {
		w.mu.Lock()
		events, end := w.events, w.end
		w.events = nil
		w.mu.Unlock()
		switch {
		case end != nil:
			return nil, end
		case len(events) > 0:
			return events, nil
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
