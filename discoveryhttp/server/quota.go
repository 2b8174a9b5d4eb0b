package server

import (
	"errors"
	"sync"
)

// quota bounds what is under way, of each key and in all. It keeps no key of which nothing
// is under way. It is safe for concurrent use.
type quota[K comparable] struct {
	// perKey and total are the limits. 0 is no limit.
	perKey, total int

	mu   sync.Mutex
	keys map[K]int
	all  int
}

var (
	// errKeyFull is the error of one more than quota.perKey.
	errKeyFull = errors.New("the key's limit is reached")
	// errAllFull is the error of one more than quota.total.
	errAllFull = errors.New("the limit of all keys is reached")
)

func newQuota[K comparable](perKey, total int) *quota[K] {
	return &quota[K]{perKey: perKey, total: total, keys: map[K]int{}}
}

// enter counts one more of a key, unless a limit is reached. After nil, the caller calls
// leave.
func (q *quota[K]) enter(key K) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.perKey > 0 && q.keys[key] >= q.perKey {
		return errKeyFull
	}
	if q.total > 0 && q.all >= q.total {
		return errAllFull
	}
	q.keys[key]++
	q.all++
	return nil
}

// leave counts one less of a key.
func (q *quota[K]) leave(key K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all--
	if q.keys[key]--; q.keys[key] == 0 {
		delete(q.keys, key)
	}
}

// count returns how many are under way.
func (q *quota[K]) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.all
}
