package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// Bolt is a Memory that also keeps everything in a file. A change is on disk before it is
// acknowledged, and before a reader or watcher sees it. Nothing expires while the file is
// not open.
type Bolt struct {
	memory  *Memory
	path    string
	journal *journal

	// mu guards what follows.
	mu     sync.Mutex
	queue  []*operation
	closed bool
	// failure is why the last write failed; nil if it did not.
	failure error
	// written is when a write last succeeded, and size that of the file, in bytes.
	written time.Time
	size    int64
	// probed is when Ready last tried to write.
	probed time.Time

	wake   chan struct{}
	writer sync.WaitGroup
}

// operation is a change that waits to be written.
type operation struct {
	// run stages the change. The memory is locked.
	run func(m *Memory) error
	// mustWrite is set if the file is to be written even if nothing is staged.
	mustWrite bool
	err       error
	done      chan struct{}
}

const (
	// openTimeout bounds the wait for another process to close the file.
	openTimeout = 5 * time.Second
	// askTimeout is openTimeout where the server is asked if it has the file open.
	askTimeout = 200 * time.Millisecond
	// maxCommit is the largest number of changes that share a sync.
	maxCommit = 4096
	// aliveInterval is how often the time is saved if nothing else is.
	aliveInterval = time.Minute
	// probeInterval bounds how often Ready tries to write after a failure.
	probeInterval = time.Second
)

// errClosed is the error of a change after Close.
var errClosed = errors.New("the store is closed")

// OpenBolt opens the file at path and reads it. It creates the file, mode 0600, if there is
// none. The error of a damaged file is a *DamageError.
func OpenBolt(path string, limits Limits) (*Bolt, error) {
	b := &Bolt{memory: NewMemory(limits), path: path, wake: make(chan struct{}, 1)}
	var err error
	if b.journal, err = openJournal(path, b.memory); err != nil {
		return nil, err
	}
	b.size = b.journal.size
	b.writer.Go(b.write)
	return b, nil
}

// do queues a change and waits until it is on disk.
func (b *Bolt) do(ctx context.Context, op *operation) error {
	op.done = make(chan struct{})
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return errClosed
	}
	b.queue = append(b.queue, op)
	b.mu.Unlock()
	b.notify()
	select {
	case <-op.done:
		return op.err
	case <-ctx.Done():
	}
	b.mu.Lock()
	i := slices.Index(b.queue, op)
	if i >= 0 {
		b.queue = slices.Delete(b.queue, i, i+1)
	}
	b.mu.Unlock()
	if i >= 0 {
		return ctx.Err()
	}
	// The change is being written, from memory of the caller.
	<-op.done
	return op.err
}

func (b *Bolt) notify() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// write writes queued changes until the store is closed. Those that wait together share a
// sync of the file. It alone stages changes and uses the journal.
func (b *Bolt) write() {
	// A page of the file that cannot be read is a fault.
	debug.SetPanicOnFault(true)
	for range b.wake {
		for {
			ops := b.take()
			if len(ops) == 0 {
				break
			}
			b.commit(ops)
		}
		if b.isClosed() {
			return
		}
	}
}

func (b *Bolt) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed && len(b.queue) == 0
}

// take returns changes to be written together.
func (b *Bolt) take() []*operation {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.queue), maxCommit)
	ops := slices.Clone(b.queue[:n])
	b.queue = slices.Delete(b.queue, 0, n)
	return ops
}

// commit stages changes, writes them, and makes them visible.
func (b *Bolt) commit(ops []*operation) {
	mustWrite := b.stage(ops)
	var err error
	if mustWrite {
		err = b.journal.commit(b.memory)
	}
	b.memory.mu.Lock()
	if err == nil {
		b.memory.apply()
	} else {
		b.memory.discard()
	}
	b.memory.mu.Unlock()
	if mustWrite {
		b.mu.Lock()
		b.failure = err
		if err == nil {
			b.written, b.size = time.Now(), b.journal.size
		}
		b.mu.Unlock()
	}
	for _, op := range ops {
		// A change that stages nothing may owe that to another of the same commit.
		if err != nil && (op.err == nil || errors.Is(op.err, ErrTooManyEndpoints)) {
			op.err = err
		}
		close(op.done)
	}
}

// stage stages changes and reports whether there is anything to write.
func (b *Bolt) stage(ops []*operation) bool {
	m := b.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	mustWrite := false
	for _, op := range ops {
		op.err = op.run(m)
		mustWrite = mustWrite || op.mustWrite
	}
	return mustWrite || m.isStaged() || b.journal.isOutdated(m.clock.latest)
}

// Update implements server.Store.
func (b *Bolt) Update(ctx context.Context, clusterID string, u Update) error {
	return b.do(ctx, &operation{run: func(m *Memory) error { return m.update(clusterID, u) }})
}

// Delete implements server.Store.
func (b *Bolt) Delete(ctx context.Context, clusterID, id string) error {
	return b.do(ctx, &operation{run: func(m *Memory) error {
		m.remove(clusterID, id)
		return nil
	}})
}

// List implements server.Store.
func (b *Bolt) List(ctx context.Context, clusterID string) (*Snapshot, error) {
	return b.memory.List(ctx, clusterID)
}

// Watch implements server.Store.
func (b *Bolt) Watch(ctx context.Context, clusterID string, caller netip.Addr, token []byte) (*Snapshot, *Watcher, error) {
	return b.memory.Watch(ctx, clusterID, caller, token)
}

// Admit implements server.Store.
func (b *Bolt) Admit(ctx context.Context, clusterID string, token []byte, now time.Time) (bool, error) {
	return b.memory.Admit(ctx, clusterID, token, now)
}

// Expire implements server.Store. It also saves the time, once a minute.
func (b *Bolt) Expire(now time.Time) error {
	return b.do(context.Background(), &operation{run: func(m *Memory) error {
		m.expire(now)
		return nil
	}})
}

// Stats implements server.Store.
func (b *Bolt) Stats() Stats {
	s := b.memory.Stats()
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Kind, s.File, s.Written = "bolt", b.size, b.written
	return s
}

// Ready implements server.Store. After a write that failed it returns an error until a write
// has succeeded, and tries one itself.
func (b *Bolt) Ready(ctx context.Context) error {
	b.mu.Lock()
	failure := b.failure
	probe := failure != nil && time.Since(b.probed) >= probeInterval
	if probe {
		b.probed = time.Now()
	}
	b.mu.Unlock()
	if !probe {
		return failure
	}
	return b.do(ctx, &operation{run: func(*Memory) error { return nil }, mustWrite: true})
}

// Close saves the time and closes the file.
func (b *Bolt) Close() error {
	err := b.do(context.Background(), &operation{run: func(*Memory) error { return nil }, mustWrite: true})
	if errors.Is(err, errClosed) {
		return nil
	}
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.notify()
	b.writer.Wait()
	return errors.Join(err, b.journal.close())
}

// openDB opens a file with bbolt. It waits for another process to close it.
func openDB(path string, readOnly bool, timeout time.Duration) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: timeout, ReadOnly: readOnly, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, NoStatistics: true,
	})
	if err != nil {
		return nil, openError(path, err)
	}
	return db, nil
}

// DamageError is the error of a damaged file.
type DamageError struct {
	// Path is that of the file.
	Path string
	// Err is what is wrong with the file.
	Err error
}

// Error implements error.
func (e *DamageError) Error() string {
	return fmt.Sprintf("store %s is damaged: %v: restore a copy with `spanctl discovery restore`, or start with an empty store with --store-reset, which moves the file aside", e.Path, e.Err)
}

// Unwrap returns what is wrong with the file.
func (e *DamageError) Unwrap() error { return e.Err }
