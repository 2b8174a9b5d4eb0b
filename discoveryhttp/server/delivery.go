package server

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/mem"
)

// delivery is a message for one reader, which holds it until all pieces are taken. It is also
// the mem.BufferPool that gRPC gives the pieces back to.
type delivery struct {
	noBuffers

	r *reader
	m *message
	// one is space for the buffers of a message in one piece.
	one [1]mem.Buffer

	// What follows is guarded by r.held.mu. at is when the message was put up for the reader,
	// and left the number of pieces that are not taken.
	at            time.Time
	left          int
	before, after *delivery
	// orphan holds the message in place of the reader, when that is gone.
	orphan *orphan
}

var _ mem.BufferPool = (*delivery)(nil)

// buffers returns the message for gRPC, which calls Put for each piece that is sent, or that it
// will not send.
func (d *delivery) buffers() mem.BufferSlice {
	b := mem.BufferSlice(d.one[:0])
	for i := range d.m.pieces {
		b = append(b, mem.NewBuffer(&d.m.pieces[i], d))
	}
	return b
}

// Put implements mem.BufferPool.
func (d *delivery) Put(b *[]byte) {
	// What gRPC writes before it counts too: a message of no bytes is to be taken as well.
	n, r := len(*b)+1, d.r
	d.taken(1)
	r.released(n)
}

// size is what a reader has to take, in bytes.
func (d *delivery) size() int { return len(d.m.wire) + len(d.m.pieces) }

// finish lets go of all pieces.
func (d *delivery) finish() {
	n, r := d.size(), d.r
	d.taken(len(d.m.pieces))
	r.released(n)
}

// taken records that pieces were taken, or never will be.
func (d *delivery) taken(pieces int) {
	h := &d.r.held
	h.mu.Lock()
	d.left -= pieces
	over := d.left == 0
	orphan := d.orphan
	if over && orphan == nil {
		h.remove(d)
	}
	h.mu.Unlock()
	switch {
	case !over:
	case orphan != nil:
		orphan.release()
	default:
		d.m.release()
	}
}

// orphan holds a message that gRPC has not sent of a call that is over. gRPC does not always
// give it back: it is released at the latest when the connection is closed, or when the memory
// is collected.
type orphan struct {
	m *message
	// of is the connection; nil if there is none.
	of       *grpcConn
	released atomic.Bool
}

func (o *orphan) release() {
	if o.released.Swap(true) {
		return
	}
	if o.of != nil {
		o.of.disown(o)
	}
	o.m.release()
}

// deliveries are what a reader holds.
type deliveries struct {
	mu          sync.Mutex
	first, last *delivery
}

func (h *deliveries) add(d *delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.before = h.last
	if h.last != nil {
		h.last.after = d
	} else {
		h.first = d
	}
	h.last = d
}

// remove removes a delivery. h.mu is held.
func (h *deliveries) remove(d *delivery) {
	if d.before != nil {
		d.before.after = d.after
	} else {
		h.first = d.after
	}
	if d.after != nil {
		d.after.before = d.before
	} else {
		h.last = d.before
	}
	d.before, d.after = nil, nil
}

// orphan makes what is left of a call that is over be held in place of its reader, by a
// connection, nil for none.
func (h *deliveries) orphan(of *grpcConn) {
	var left []*orphan
	h.mu.Lock()
	for d := h.first; d != nil; {
		next := d.after
		d.before, d.after = nil, nil
		d.orphan = &orphan{m: d.m, of: of}
		runtime.AddCleanup(d, (*orphan).release, d.orphan)
		left = append(left, d.orphan)
		d = next
	}
	h.first, h.last = nil, nil
	h.mu.Unlock()
	for _, o := range left {
		if of != nil && !of.own(o) {
			o.release()
		}
	}
}

// holds returns what a reader holds now.
func (r *reader) holds(now time.Time) holder {
	h := holder{reader: r, address: r.address}
	r.held.mu.Lock()
	defer r.held.mu.Unlock()
	if first := r.held.first; first != nil {
		h.untaken = now.Sub(first.at)
	}
	for d := r.held.first; d != nil; d = d.after {
		h.bytes += d.m.size() / int64(max(d.m.refs.Load(), 1))
	}
	return h
}
