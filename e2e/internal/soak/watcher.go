package soak

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/spanmesh/span/e2e/internal/attack"
	"github.com/spanmesh/span/e2e/internal/wire"
)

// watcher keeps what a watch of a cluster says.
type watcher struct {
	client  wire.Client
	cluster string

	mu sync.Mutex
	// has are the affiliates by ID, each with the number of its write.
	has map[string]uint64
}

// watchAgain is how long a watcher waits until it watches again.
const watchAgain = 100 * time.Millisecond

// run watches until ctx ends. When a watch ends, it watches again.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		first := true
		// The error is that of a server that ends.
		_ = w.client.Watch(ctx, w.cluster, func(message []byte) {
			w.apply(message, first)
			first = false
		})
		attack.Pause(ctx, watchAgain)
	}
}

// apply applies a message of a watch. The first one has all affiliates.
func (w *watcher) apply(message []byte, isFirst bool) {
	all, deleted := wire.Affiliates(message)
	w.mu.Lock()
	defer w.mu.Unlock()
	if isFirst {
		w.has = map[string]uint64{}
	}
	for _, a := range all {
		if deleted {
			delete(w.has, a.ID)
		} else {
			w.has[a.ID] = numberOf(a.Data)
		}
	}
}

// sees reports whether the watcher has exactly these affiliates.
func (w *watcher) sees(has map[string]uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Equal(w.has, has)
}

// deliveryDeadline bounds how long a change may take to reach all watchers.
const deliveryDeadline = 20 * time.Second

// await waits until the watcher has what the server lists. Nobody writes meanwhile.
func (w *watcher) await(ctx context.Context) error {
	has, err := list(ctx, w.client, w.cluster)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryDeadline)
	defer cancel()
	for !w.sees(has) {
		if !attack.Pause(ctx, watchAgain) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return fmt.Errorf("a watcher of %s has %v after %v, and the server %v", w.cluster, w.has, deliveryDeadline, has)
		}
	}
	return nil
}
