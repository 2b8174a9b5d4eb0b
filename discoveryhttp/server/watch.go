package server

import (
	"context"
	"errors"
	"net/netip"
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
	// deliver hands a message over without waiting. As bytes of it are taken, the delivery is
	// told.
	deliver(d *delivery) error
	// pending is signalled when write has something to do; nil if it never has.
	pending() <-chan struct{}
	// write writes what was delivered. It may wait.
	write() error
	// abandon drops what a reader that takes nothing has left untaken.
	abandon(r *reader)
	// close is called when the call is over. What is left is held for the connection, nil for
	// none.
	close() *grpcConn
}

// reader is one who reads a cluster: a snapshot, and what changes afterwards. Messages are
// handed over by whoever has one; wait, in the goroutine of the call, ends the call.
type reader struct {
	outlet outlet
	// watcher has the changes; nil for a list.
	watcher *store.Watcher
	cluster *cluster
	// address is that of the caller, or its IPv6 /64.
	address netip.Addr

	// held are the messages of the reader, with those in next.
	held deliveries
	// untaken is the number of bytes that the outlet has and the reader has not taken.
	untaken atomic.Int64
	// taken is the number of bytes that the reader has taken.
	taken atomic.Int64
	// behind is set if there is more to send when the reader has taken more.
	behind atomic.Bool

	mu sync.Mutex
	// next is to be sent before the changes of the watcher.
	next []*delivery
	// lags is set from when the reader had to take what was sent before it got more, until it
	// has taken all there was.
	lags bool
	err  error
	// ended is closed when err is set.
	ended chan struct{}
	// drained is signalled when the reader of a list has taken it.
	drained chan struct{}
}

// newReader returns a reader of messages that it holds from now on, and of changes of a watcher,
// nil for none.
func newReader(o outlet, address netip.Addr, c *cluster, messages []*message, w *store.Watcher) *reader {
	r := &reader{outlet: o, watcher: w, cluster: c, address: address, ended: make(chan struct{})}
	if w == nil {
		r.drained = make(chan struct{}, 1)
	}
	r.put(messages)
	return r
}

// put makes messages the next that are sent. The reader holds them from now on.
func (r *reader) put(messages []*message) {
	now := time.Now()
	for _, m := range messages {
		d := &delivery{r: r, m: m, at: now, left: len(m.pieces)}
		r.held.add(d)
		r.next = append(r.next, d)
	}
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
		// released sees the flag, or flush sees what it has released.
		r.behind.Store(true)
		if r.untaken.Load() >= sendWindow {
			r.lags = r.hasMore()
			r.behind.Store(r.lags)
			return events
		}
		r.behind.Store(false)
		if len(r.next) == 0 {
			n := r.refill()
			events += n
			if n == 0 {
				return events
			}
		}
		d := r.next[0]
		r.next[0] = nil
		if r.next = r.next[1:]; len(r.next) == 0 {
			r.next = nil
		}
		r.untaken.Add(int64(d.size()))
		if err := r.outlet.deliver(d); err != nil {
			r.fail(err)
		}
	}
	return events
}

// hasMore reports whether there is more to be sent. r.mu is held.
func (r *reader) hasMore() bool {
	if r.watcher == nil {
		return len(r.next) > 0
	}
	span, _, err := r.watcher.Peek(0)
	if err != nil {
		r.fail(err)
	}
	return len(r.next) > 0 || !span.Empty()
}

// refill takes changes from the watcher, and returns their number. r.mu is held.
func (r *reader) refill() int {
	if r.watcher == nil {
		return 0
	}
	limit := eventsPart
	if r.lags {
		limit = laggingPart
	}
	messages, events, err := r.cluster.take(r, limit)
	if err != nil {
		r.fail(err)
		return 0
	}
	r.put(messages)
	return events
}

// fail ends the call with an error. r.mu is held.
func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
		for _, d := range r.next {
			d.taken(d.left)
		}
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
	r.taken.Add(int64(n))
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
			if err := r.outlet.write(); err != nil {
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
	s.account.open(r)
	r.flush()
	if r.watcher != nil {
		r.watcher.Notify(func() { r.cluster.wake(r) })
	}
	err := r.wait(ctx, s.closing, s.options.Limits.Send)
	// From now on, nothing is handed over.
	r.end(context.Canceled)
	s.account.close(r)
	if errors.Is(err, errTooSlow) {
		r.outlet.abandon(r)
	}
	r.held.orphan(r.outlet.close())
	switch {
	case errors.Is(err, errTooSlow):
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
	cluster, leave := s.clusters.join(m.GetClusterId())
	defer leave()
	var messages []*message
	var watcher *store.Watcher
	if err := s.account.retry(ctx, func() (err error) {
		messages, watcher, err = s.beginWatch(ctx, cluster, c, m.GetClusterId(), token, part)
		return err
	}); err != nil {
		return err
	}
	defer watcher.Close()
	return s.serve(ctx, newReader(o, rateKey(c.caller), cluster, messages, watcher))
}

// beginWatch returns what a watch begins with, held for its reader, and its watcher; or errNoRoom.
func (s *Server) beginWatch(ctx context.Context, of *cluster, c call, id string, token []byte, part int) ([]*message, *store.Watcher, error) {
	end, err := of.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer end()
	snapshot, watcher, err := s.store.Watch(ctx, id, rateKey(c.caller), token)
	if err != nil {
		return nil, nil, s.storeError(ctx, err)
	}
	messages, err := of.start(snapshot, part, rateKey(c.caller))
	if err != nil {
		watcher.Close()
		return nil, nil, err
	}
	return messages, watcher, nil
}
