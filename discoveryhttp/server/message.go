package server

import (
	"slices"
	"sync/atomic"

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

// messageOverhead is about what a message takes besides its encoding, and a reader for each
// that it holds, in bytes.
const messageOverhead = 256

// message is an encoded response. It is immutable, and shared by all who hold it. The account
// counts it until the last of them lets go.
type message struct {
	wire []byte
	// pieces are the parts of wire that gRPC gives back one by one.
	pieces [][]byte

	account *account
	// refs is the number of holders.
	refs atomic.Int32
	// gone is called when there are no holders; nil for nothing.
	gone func()
}

// newMessage returns the message of an encoding, which it keeps. The caller holds it, and has
// its size counted.
func newMessage(a *account, wire []byte) *message {
	if len(wire) < pieceSize {
		wire = countable(wire)
	}
	m := &message{wire: wire, account: a}
	m.refs.Store(1)
	for len(wire) >= pieceSize+countableSize {
		m.pieces = append(m.pieces, wire[:pieceSize:pieceSize])
		wire = wire[pieceSize:]
	}
	m.pieces = append(m.pieces, wire)
	return m
}

// counted corrects what was reserved for messages, and returns them.
func counted(a *account, messages []*message, reserved int64) []*message {
	for _, m := range messages {
		reserved -= m.size()
	}
	a.settle(-reserved)
	return messages
}

// reservedFor returns what to reserve before something is encoded in some bytes.
func reservedFor(size int) int64 { return int64(max(size, countableSize) + messageOverhead) }

// size returns what the message takes, in bytes.
func (m *message) size() int64 {
	return int64(cap(m.wire)+len(m.pieces)*pieceOverhead) + messageOverhead
}

// pieceOverhead is what a piece takes besides its bytes, and for gRPC to hold it, in bytes.
const pieceOverhead = 128

// hold makes the message have one more holder. It reports false if it has none: it is gone.
func (m *message) hold() bool {
	for {
		refs := m.refs.Load()
		if refs == 0 {
			return false
		}
		if m.refs.CompareAndSwap(refs, refs+1) {
			return true
		}
	}
}

// release ends what hold began.
func (m *message) release() {
	if m.refs.Add(-1) > 0 {
		return
	}
	if m.gone != nil {
		m.gone()
	}
	m.account.settle(-m.size())
}

func releaseAll(messages []*message) {
	for _, m := range messages {
		m.release()
	}
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

// encodeSnapshot returns a snapshot in messages of at most limit bytes, which the caller holds
// and has reserved reservedForSnapshot for.
func encodeSnapshot(a *account, s *store.Snapshot, limit int) []*message {
	var messages []*message
	for _, wire := range s.Messages(limit) {
		messages = append(messages, newMessage(a, wire))
	}
	return counted(a, messages, reservedForSnapshot(s, limit))
}

// reservedForSnapshot returns what to reserve before a snapshot is encoded.
func reservedForSnapshot(s *store.Snapshot, limit int) int64 {
	return reservedForParts(s.Size(), limit)
}

// reservedForParts returns what to reserve before some bytes are encoded in messages of at most
// limit bytes. Two that follow each other have more than that together.
func reservedForParts(size, limit int) int64 {
	pieces := size/pieceSize + 1
	return int64(size+pieces*pieceOverhead) + int64(2*(size/limit)+2)*reservedFor(messageFlag)
}

// encodeEvents returns events in messages of about limit bytes, which the caller holds and has
// reserved reservedForParts for.
func encodeEvents(a *account, events []*store.Event, limit int, reserved int64) []*message {
	var messages []*message
	for _, some := range split(latest(events)) {
		for len(some) > 0 {
			n, size := 0, messageFlag
			for n < len(some) && (n == 0 || size+some[n].Size() <= limit) {
				size += some[n].Size()
				n++
			}
			messages = append(messages, newMessage(a, store.AppendEvents(make([]byte, 0, max(size, countableSize)), some[:n])))
			some = some[n:]
		}
	}
	return counted(a, messages, reserved)
}

// messageFlag is the most that the flag of a message takes, in bytes.
const messageFlag = 8

// split returns updates, and then deletions.
func split(events []*store.Event) [][]*store.Event {
	first := slices.IndexFunc(events, func(e *store.Event) bool { return e.Deleted != events[0].Deleted })
	if first < 0 {
		return [][]*store.Event{events}
	}
	var updates, deletions []*store.Event
	for _, e := range events {
		if e.Deleted {
			deletions = append(deletions, e)
		} else {
			updates = append(updates, e)
		}
	}
	return [][]*store.Event{updates, deletions}
}

// latest returns the last event of each affiliate, and its last update. A machine that leaves says
// so in an update before its deletion: others that see the deletion alone keep it until they know
// that it does not come back.
func latest(events []*store.Event) []*store.Event {
	if len(events) < 2 {
		return events
	}
	last, updated := make(map[string]int, len(events)), map[string]int{}
	for i, e := range events {
		last[e.Affiliate.ID] = i
		if !e.Deleted {
			updated[e.Affiliate.ID] = i
		}
	}
	if len(last) == len(events) {
		return events
	}
	kept := make([]*store.Event, 0, len(events))
	for i, e := range events {
		if at, has := updated[e.Affiliate.ID]; last[e.Affiliate.ID] == i || has && at == i {
			kept = append(kept, e)
		}
	}
	return kept
}
