// Package latest has a queue that keeps only the latest value of each key.
//
// A value that is still queued is replaced, in its place, by the next one of its key. A
// reader that lags misses intermediate values but never the last one, and the queue never
// outgrows the set of keys.
package latest

import (
	"context"
	"sync"
)

// Queue is a queue of values by key. Any number of goroutines may call Push, one may call
// Next.
type Queue[K comparable, V any] struct {
	mu      sync.Mutex
	order   []K
	pending map[K]V
	wake    chan struct{}
}

// New returns an empty queue.
func New[K comparable, V any]() *Queue[K, V] {
	return &Queue[K, V]{pending: map[K]V{}, wake: make(chan struct{}, 1)}
}

// Push queues the value of a key. It never blocks.
func (q *Queue[K, V]) Push(key K, value V) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, queued := q.pending[key]; !queued {
		q.order = append(q.order, key)
	}
	q.pending[key] = value
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Next waits for values and returns all that are queued, in the order in which their keys
// were first pushed, or the context's error.
func (q *Queue[K, V]) Next(ctx context.Context) ([]V, error) {
	for {
		if values := q.take(); len(values) > 0 {
			return values, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-q.wake:
		}
	}
}

func (q *Queue[K, V]) take() []V {
	q.mu.Lock()
	defer q.mu.Unlock()
	values := make([]V, len(q.order))
	for i, key := range q.order {
		values[i] = q.pending[key]
	}
	q.order = nil
	clear(q.pending)
	return values
}
