package door

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// yieldAfter is how long a pending connection keeps its place when a few others wait for one,
// and yieldSoon when many do. A handshake and a request take a few round trips.
const yieldAfter, yieldSoon = time.Second, 200 * time.Millisecond

// queue bounds the connections that are pending. They wait in order. When one has waited for a
// while, the oldest pending connection gives way if it is slow, so that whoever holds many
// connections without a word keeps nobody out.
type queue struct {
	places  chan struct{}
	waiting atomic.Int64

	mu      sync.Mutex
	holders list.List // of holder, the oldest first
}

// holder is a connection that has a place.
type holder struct {
	since time.Time
	evict func()
}

func newQueue(places int) *queue {
	return &queue{places: make(chan struct{}, places)}
}

// enter waits for a place. leave gives it back. Between them evict may be called once, which
// has to make the connection leave soon; it is not called after leave has returned.
func (q *queue) enter(ctx context.Context, evict func()) (leave func(), err error) {
	if err := q.wait(ctx); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	place := q.holders.PushBack(holder{time.Now(), evict})
	return func() {
		q.mu.Lock()
		// This does nothing if the place was taken away.
		q.holders.Remove(place)
		q.mu.Unlock()
		<-q.places
	}, nil
}

func (q *queue) wait(ctx context.Context) error {
	select {
	case q.places <- struct{}{}:
		return nil
	default:
	}
	q.waiting.Add(1)
	defer q.waiting.Add(-1)
	ticker := time.NewTicker(q.patience())
	defer ticker.Stop()
	for {
		select {
		case q.places <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			q.evictOldest()
			ticker.Reset(q.patience())
		}
	}
}

// patience returns how long a connection keeps its place: the shorter, the more others wait.
func (q *queue) patience() time.Duration {
	places := float64(cap(q.places))
	share := places / (places + float64(q.waiting.Load()))
	return max(time.Duration(share*float64(yieldAfter)), yieldSoon)
}

// evictOldest evicts the connection that has held its place for the longest time, unless
// that is not long.
func (q *queue) evictOldest() {
	q.mu.Lock()
	defer q.mu.Unlock()
	oldest := q.holders.Front()
	if oldest == nil {
		return
	}
	if h := oldest.Value.(holder); time.Since(h.since) >= q.patience() {
		q.holders.Remove(oldest)
		h.evict()
	}
}
