package store

import (
	"context"
	"sync"
)

// maxLag is how many changes a watcher may have waiting.
const maxLag = 4096

// Watcher receives the changes of one cluster.
type Watcher struct {
	stop func()
	wake chan struct{}

	mu      sync.Mutex
	events  []*Event
	lagging bool
}

func newWatcher() *Watcher { return &Watcher{wake: make(chan struct{}, 1)} }

// push queues a change. It never blocks.
func (w *Watcher) push(e *Event) {
	w.mu.Lock()
	if len(w.events) >= maxLag {
		w.events, w.lagging = nil, true
	}
	if !w.lagging {
		w.events = append(w.events, e)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// startOver makes the watcher begin again.
func (w *Watcher) startOver() {
	w.mu.Lock()
	w.events, w.lagging = nil, true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Next waits for changes and returns all that wait, at least one, in order; or
// ErrLagging, or the context's error.
func (w *Watcher) Next(ctx context.Context) ([]*Event, error) {
	for {
		w.mu.Lock()
		events, lagging := w.events, w.lagging
		w.events = nil
		w.mu.Unlock()
		switch {
		case lagging:
			return nil, ErrLagging
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
