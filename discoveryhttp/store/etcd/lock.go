package etcd

import (
	"context"
	"hash/maphash"
)

// locks are locks of keys, some of which share one. Writes of one server to one affiliate take
// turns, so that they do not make each other try again.
type locks struct {
	seed  maphash.Seed
	taken []chan struct{}
}

func newLocks(n int) *locks {
	l := &locks{seed: maphash.MakeSeed(), taken: make([]chan struct{}, n)}
	for i := range l.taken {
		l.taken[i] = make(chan struct{}, 1)
	}
	return l
}

// lock waits for the lock of a key, and returns what gives it back.
func (l *locks) lock(ctx context.Context, key string) (unlock func(), err error) {
	taken := l.taken[maphash.String(l.seed, key)%uint64(len(l.taken))]
	select {
	case taken <- struct{}{}:
		return func() { <-taken }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
