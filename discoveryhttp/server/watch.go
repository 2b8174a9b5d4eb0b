package server

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// sendWindow is how many bytes a reader may leave untaken before the server waits for it.
// gRPC queues 64 KiB for a stream without waiting.
const sendWindow = 32 << 10

// errTooSlow is the error of a reader that takes nothing.
var errTooSlow = errors.New("the reader took nothing for too long: start again")

// outlet is where the messages of a reader go.
type outlet interface {
	// deliver hands a message over without waiting. When bytes of it have been taken,
	// reader.released is called.
	deliver(r *reader, m *message) error
	// pending is signalled when write has something to do; nil if it never has.
	pending() <-chan struct{}
	// write writes what was delivered. It may wait.
	write(r *reader) error
	// abandon drops what a reader that takes nothing has left untaken.
	abandon(r *reader)
}

// reader is one who reads a cluster: a snapshot, and what changes afterwards. Messages are
// handed over by whoever has one; wait, in the goroutine of the call, ends the call.
type reader struct {
	outlet outlet
	// watcher has the events; nil for a list.
	watcher *store.Watcher
	cluster *cluster

	// untaken is the number of bytes that the outlet has and the reader has not taken.
	untaken atomic.Int64
	// taken is the number of bytes that the reader has taken.
	taken atomic.Int64
	// behind is set if there is more to send when the reader has taken more.
	behind atomic.Bool

	mu sync.Mutex
	// next are the parts to be sent before the events of the watcher.
	next []*part
	// lags is set from when the reader had to take what was sent before it got more, until it
	// has taken all there was.
	lags bool
	err  error
	// ended is closed when err is set.
	ended chan struct{}
	// drained is signalled when the reader of a list has taken it.
	drained chan struct{}

	// snapshot is the number of bytes of the snapshot; gone is called when they are taken.
	snapshot int64
	gone     func()
}

func newReader(o outlet, parts []*part) *reader {
	r := &reader{outlet: o, next: parts, ended: make(chan struct{}), drained: make(chan struct{}, 1), gone: func() {}}
	for _, p := range parts {
		if p.m != nil {
			r.snapshot += int64(len(p.m.wire))
		}
	}
	return r
}

// flush sends what there is, as far as the reader takes it. It returns the number of events
// that it took from the watcher.
func (r *reader) flush() (events int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.next) == 0 && r.untaken.Load() == 0 {
		r.lags = false
	}
	for r.err == nil {
		if len(r.next) == 0 {
			n := r.refill()
			events += n
			if n == 0 {
				return events
			}
		}
		// released sees the flag, or flush sees what it has released.
		r.behind.Store(true)
		if r.untaken.Load() >= sendWindow {
			r.lags = true
			return events
		}
		r.behind.Store(false)
		m := r.next[0].message()
		r.next[0] = nil
		r.next = r.next[1:]
		r.untaken.Add(int64(len(m.wire)))
		if err := r.outlet.deliver(r, m); err != nil {
			r.fail(err)
		}
	}
	return events
}

// refill takes the events of the watcher, and returns their number. r.mu is held.
func (r *reader) refill() int {
	if r.watcher == nil {
		return 0
	}
	events, err := r.watcher.Take()
	if err != nil {
		r.fail(err)
		return 0
	}
	if len(events) > 0 {
		limit := eventsPart
		if r.lags {
			limit = laggingPart
		}
		r.next = r.cluster.parts(events, limit)
	}
	return len(events)
}

// fail ends the call with an error. r.mu is held.
func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
		r.next = nil
		close(r.ended)
	}
}

// end ends the call with an error.
func (r *reader) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail(err)
}

// released records that the reader has taken n bytes, or never will.
func (r *reader) released(n int) {
	taken := r.taken.Add(int64(n))
	if r.snapshot > 0 && taken >= r.snapshot && taken-int64(n) < r.snapshot {
		r.gone()
	}
	untaken := r.untaken.Add(-int64(n))
	if untaken < sendWindow && r.behind.CompareAndSwap(true, false) {
		r.cluster.wake(r)
	}
	if untaken == 0 && r.watcher == nil {
		select {
		case r.drained <- struct{}{}:
		default:
		}
	}
}

// wait waits until the call ends, and returns its error. A reader that takes nothing for
// patience is ended.
func (r *reader) wait(ctx, closing context.Context, patience time.Duration) error {
	check := time.NewTicker(patience / 2)
	defer check.Stop()
	var taken int64
	idle := 0
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-closing.Done():
			return connect.NewError(connect.CodeUnavailable, errors.New("the server is shutting down"))
		case <-r.ended:
			return r.err
		case <-r.outlet.pending():
			if err := r.outlet.write(r); err != nil {
				return err
			}
		case <-r.drained:
			return nil
		case <-check.C:
			now := r.taken.Load()
			if now != taken || r.untaken.Load() == 0 {
				taken, idle = now, 0
				continue
			}
			if idle++; idle >= 2 {
				return errTooSlow
			}
		}
	}
}

// serve waits until the call of a reader ends.
func (s *Server) serve(ctx context.Context, r *reader) error {
	err := r.wait(ctx, s.closing, s.options.Limits.Send)
	// From now on, nothing is handed over.
	r.end(context.Canceled)
	r.gone()
	switch {
	case errors.Is(err, errTooSlow):
		r.outlet.abandon(r)
		// Each call has an error of its own: to look at its metadata changes it.
		return connect.NewError(connect.CodeUnavailable, err)
	case errors.Is(err, store.ErrResync):
		return connect.NewError(connect.CodeAborted, err)
	case errors.Is(err, store.ErrOtherToken):
		return s.storeError(ctx, err)
	}
	return err
}

// watch sends all affiliates of a cluster first, even if there are none, and all later
// changes in further messages. A watch that has lost events ends with CodeAborted; the
// client starts a new one. part bounds a message of the snapshot, in bytes.
func (s *Server) watch(ctx context.Context, c call, m *serverpb.WatchRequest, o outlet, part int) error {
	token, err := s.admit(ctx, c, m.GetClusterId())
	if err != nil {
		return err
	}
	if err := s.admission.openWatch(c.caller); err != nil {
		return err
	}
	defer s.admission.closeWatch(c.caller)
	snapshot, watcher, err := s.store.Watch(ctx, m.GetClusterId(), rateKey(c.caller), token)
	if err != nil {
		return s.storeError(ctx, err)
	}
	defer watcher.Close()
	cluster, leave := s.clusters.join(m.GetClusterId())
	defer leave()
	parts, shared := cluster.begin(snapshot, part)
	r := newReader(o, parts)
	r.watcher, r.cluster = watcher, cluster
	if err := s.readings.beginWatch(shared, r); err != nil {
		return err
	}
	r.flush()
	watcher.Notify(func() { cluster.wake(r) })
	return s.serve(ctx, r)
}
