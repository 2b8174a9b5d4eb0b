package door

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// yieldAfter is how long a pending connection keeps its place when a few others wait for one,
// and yieldSoon when many do. A handshake and a request take a few round trips.
const yieldAfter, yieldSoon = time.Second, 250 * time.Millisecond

// queue bounds the connections that are pending. When others wait, the oldest pending
// connection gives way if it is slow, so that whoever holds many connections without a word
// keeps nobody out. The one that came last gets a free place first: when more come than can be
// served, those of honest clients then wait for less long than such clients have patience, and
// what waits is mostly what was sent away before.
type queue struct {
	mu      sync.Mutex
	places  int
	holders list.List // of holder, the oldest first
	taken   int       // places, also of connections that were evicted and have not left
	waiting list.List // of chan struct{}, the oldest first; closed when it has a place
}

// holder is a connection that has a place.
type holder struct {
	since time.Time
	evict func()
}

func newQueue(places int) *queue { return &queue{places: places} }

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
		defer q.mu.Unlock()
		// This does nothing if the place was taken away.
		q.holders.Remove(place)
		q.release()
	}, nil
}

// wait returns when a place was taken for the caller.
func (q *queue) wait(ctx context.Context) error {
	q.mu.Lock()
	if q.taken < q.places {
		q.taken++
		q.mu.Unlock()
		return nil
	}
	granted := make(chan struct{})
	turn := q.waiting.PushBack(granted)
	ticker := time.NewTicker(q.patience())
	q.mu.Unlock()
	defer ticker.Stop()
	for {
		select {
		case <-granted:
			return nil
		case <-ctx.Done():
			return q.giveUp(turn, ctx.Err())
		case <-ticker.C:
			ticker.Reset(q.evictOldest())
		}
	}
}

// giveUp ends a wait with an error.
func (q *queue) giveUp(turn *list.Element, err error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-turn.Value.(chan struct{}):
		q.release()
	default:
		q.waiting.Remove(turn)
	}
	return err
}

// release gives a place to the connection that came last of those that wait.
func (q *queue) release() {
	last := q.waiting.Back()
	if last == nil {
		q.taken--
		return
	}
	close(q.waiting.Remove(last).(chan struct{}))
}

// patience returns how long a connection keeps its place: the shorter, the more others wait.
func (q *queue) patience() time.Duration {
	share := float64(q.places) / float64(q.places+q.waiting.Len())
	return max(time.Duration(share*float64(yieldAfter)), yieldSoon)
}

// evictOldest evicts the connection that has held its place for the longest time, unless
// that is not long. It returns when to try again.
func (q *queue) evictOldest() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	patience := q.patience()
	oldest := q.holders.Front()
	if oldest == nil {
		return patience
	}
	if h := oldest.Value.(holder); time.Since(h.since) >= patience {
		q.holders.Remove(oldest)
		h.evict()
	}
	return patience
}
