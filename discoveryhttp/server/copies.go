package server

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"
)

const (
	// connectPart bounds a message of a snapshot on net/http, in bytes. Each call has a copy
	// of its own there.
	connectPart = 256 << 10
	// maxConnectList bounds a list on net/http, in bytes.
	maxConnectList = 8 << 20
	// freeCopy is the size up to which copies are not counted, in bytes. They are bounded by
	// the number of calls.
	freeCopy = 64 << 10
	// copyTimeout bounds how long a response waits until there is room for its copy.
	copyTimeout = 10 * time.Second
	// jsonFactor is how much larger a response is when it is decoded and written in JSON.
	jsonFactor = 6
)

// copyOf returns the size of the copies of a response, in bytes.
func copyOf(size int, json bool) int64 {
	if json {
		size *= jsonFactor
	}
	return int64(size)
}

// copies bound the memory of copied responses, in all and for each caller.
type copies struct {
	all *semaphore.Weighted
	// perCaller is the limit of one caller, in bytes.
	perCaller int64

	mu      sync.Mutex
	callers map[netip.Addr]*callerCopies
}

// callerCopies are the copies of one caller.
type callerCopies struct {
	copies *semaphore.Weighted
	// calls is the number of calls that have or await some.
	calls int
}

// newCopies returns bounds in bytes, of all callers and of each. 0 is no bound.
func newCopies(all, perCaller int64) *copies {
	all = orNone(all)
	return &copies{all: semaphore.NewWeighted(all), perCaller: min(orNone(perCaller), all), callers: map[netip.Addr]*callerCopies{}}
}

// acquire waits until there is room for a copy of a size in bytes. The caller calls release
// when the copy is written.
func (c *copies) acquire(ctx context.Context, caller netip.Addr, size int64) (release func(), err error) {
	if size <= freeCopy {
		return func() {}, nil
	}
	size = min(size, c.perCaller)
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	own := c.enter(caller)
	if err := own.copies.Acquire(ctx, size); err != nil {
		c.leave(caller)
		return nil, noCopy()
	}
	if err := c.all.Acquire(ctx, size); err != nil {
		own.copies.Release(size)
		c.leave(caller)
		return nil, noCopy()
	}
	return sync.OnceFunc(func() {
		c.all.Release(size)
		own.copies.Release(size)
		c.leave(caller)
	}), nil
}

// noCopy returns the error of a call without room for its copy. Each call has its own: to look
// at its metadata changes it.
func noCopy() error {
	return connect.NewError(connect.CodeResourceExhausted, errors.New("the server is sending too many large responses: try again later"))
}

func (c *copies) enter(caller netip.Addr) *callerCopies {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.callers[caller]
	if own == nil {
		own = &callerCopies{copies: semaphore.NewWeighted(c.perCaller)}
		c.callers[caller] = own
	}
	own.calls++
	return own
}

func (c *copies) leave(caller netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if own := c.callers[caller]; own != nil {
		if own.calls--; own.calls == 0 {
			delete(c.callers, caller)
		}
	}
}
