package server

import (
	"sync"

	"google.golang.org/grpc/mem"

	"github.com/spanmesh/span/discoveryhttp/store"
)

const (
	// snapshotPart bounds a message of a snapshot, in bytes. gRPC clients take 4 MiB.
	snapshotPart = 3 << 20
	// eventsPart bounds a message of events, in bytes.
	eventsPart = 128 << 10
	// laggingPart is eventsPart of a reader that lags, in bytes: it may be the only one at its
	// place, so that nobody shares its messages.
	laggingPart = 16 << 10
	// pieceSize is the size of the pieces in which a reader takes a message, in bytes.
	pieceSize = 32 << 10
)

// message is an encoded response. It is immutable, and shared by all readers.
type message struct {
	wire []byte
	// pieces are the parts of wire that gRPC gives back one by one.
	pieces [][]byte
}

// newMessage returns the message of an encoding, which it keeps.
func newMessage(wire []byte) *message {
	if len(wire) < pieceSize {
		wire = countable(wire)
	}
	m := &message{wire: wire}
	for len(wire) >= pieceSize+countableSize {
		m.pieces = append(m.pieces, wire[:pieceSize:pieceSize])
		wire = wire[pieceSize:]
	}
	m.pieces = append(m.pieces, wire)
	return m
}

// countable returns b with a capacity for which gRPC counts references.
func countable(b []byte) []byte {
	if !mem.IsBelowBufferPoolingThreshold(cap(b)) {
		return b
	}
	return append(make([]byte, 0, countableSize), b...)
}

// countableSize is the smallest capacity for which gRPC counts references, in bytes.
var countableSize = func() int {
	size := 1
	for mem.IsBelowBufferPoolingThreshold(size) {
		size *= 2
	}
	return size
}()

// buffers returns the encoding for gRPC, which calls released.Put for each piece that is
// sent, or that it will not send.
func (m *message) buffers(released mem.BufferPool) mem.BufferSlice {
	b := make(mem.BufferSlice, len(m.pieces))
	for i := range m.pieces {
		b[i] = mem.NewBuffer(&m.pieces[i], released)
	}
	return b
}

// part is a message that is encoded when the first reader is ready for it.
type part struct {
	events []*store.Event
	encode sync.Once
	m      *message
}

// snapshotParts returns a snapshot in messages of at most limit bytes.
func snapshotParts(s *store.Snapshot, limit int) []*part {
	var parts []*part
	for _, wire := range s.Messages(limit) {
		parts = append(parts, &part{m: newMessage(wire)})
	}
	return parts
}

func (p *part) message() *message {
	p.encode.Do(func() {
		if p.m != nil {
			return
		}
		size := 8
		for _, e := range p.events {
			size += e.Size()
		}
		p.m = newMessage(store.AppendEvents(make([]byte, 0, max(size, countableSize)), p.events))
	})
	return p.m
}

// split puts events in parts, with the last event of each affiliate only. A part has
// deletions or updates, and at most limit bytes, or one event that has more.
func split(events []*store.Event, limit int) []*part {
	var parts []*part
	events = latest(events)
	for _, deleted := range []bool{false, true} {
		var p *part
		size := 0
		for _, e := range events {
			if e.Deleted != deleted {
				continue
			}
			if p == nil || size+e.Size() > limit {
				p, size = &part{}, 0
				parts = append(parts, p)
			}
			p.events = append(p.events, e)
			size += e.Size()
		}
	}
	return parts
}

// latest returns the last event of each affiliate.
func latest(events []*store.Event) []*store.Event {
	if len(events) < 2 {
		return events
	}
	last := make(map[string]int, len(events))
	for i, e := range events {
		last[e.Affiliate.ID] = i
	}
	if len(last) == len(events) {
		return events
	}
	kept := make([]*store.Event, 0, len(last))
	for i, e := range events {
		if last[e.Affiliate.ID] == i {
			kept = append(kept, e)
		}
	}
	return kept
}
