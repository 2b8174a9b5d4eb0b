package store

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Backlog counts and bounds what many logs keep. When that is too much, the longest are cut:
// watchers that are behind in them must resynchronize. It is safe for concurrent use, and a nil
// one bounds nothing.
type Backlog struct {
	// limit is in bytes; 0 for none.
	limit int64
	bytes atomic.Int64
	// cutting is locked while logs are cut.
	cutting sync.Mutex

	mu   sync.Mutex
	logs map[*Log]struct{}
}

// NewBacklog returns a bound in bytes; 0 for none.
func NewBacklog(limit int64) *Backlog { return &Backlog{limit: limit, logs: map[*Log]struct{}{}} }

// Bytes returns about what the logs take.
func (b *Backlog) Bytes() int64 { return b.bytes.Load() }

func (b *Backlog) open(l *Log) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs[l] = struct{}{}
}

func (b *Backlog) close(l *Log) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.logs, l)
}

func (b *Backlog) add(bytes int64) {
	if b != nil {
		b.bytes.Add(bytes)
	}
}

// reserve adds bytes that no log has, if there is room for them in half of the limit: the rest is
// for logs, which are not cut because of others' snapshots.
func (b *Backlog) reserve(bytes int64) bool {
	if b.bytes.Add(bytes) > b.limit/2 && b.limit > 0 {
		b.bytes.Add(-bytes)
		return false
	}
	return true
}

// check cuts the longest logs if they take too much, down to three quarters of what they may:
// the next change needs not look at all of them again.
func (b *Backlog) check() {
	if b == nil || b.limit == 0 || b.bytes.Load() <= b.limit {
		return
	}
	b.cutting.Lock()
	defer b.cutting.Unlock()
	if b.bytes.Load() <= b.limit {
		return
	}
	type length struct {
		log   *Log
		bytes int64
	}
	b.mu.Lock()
	lengths := make([]length, 0, len(b.logs))
	for l := range maps.Keys(b.logs) {
		if n := l.bytes.Load(); n > 0 {
			lengths = append(lengths, length{l, n})
		}
	}
	b.mu.Unlock()
	slices.SortFunc(lengths, func(x, y length) int { return cmp.Compare(y.bytes, x.bytes) })
	for _, longest := range lengths {
		if b.bytes.Load() <= b.limit/4*3 {
			return
		}
		longest.log.shorten()
	}
}
