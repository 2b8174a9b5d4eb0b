package server

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
)

const (
	// spareAnswers is how many answers a connection may leave untaken for good. gRPC does not
	// give back the answer to a call that its client ends at the same moment.
	spareAnswers = 2
	// spareProxyAnswers is spareAnswers of a trusted proxy, which has many clients.
	spareProxyAnswers = 100
)

// answers counts the answers of a connection to calls that are over, and how many of them its
// client has taken. gRPC keeps a call in memory until then.
type answers struct {
	noBuffers

	given, taken atomic.Int64
	// earlier are what was given at the last two looks. Only one goroutine looks.
	earlier [2]int64
}

var _ mem.BufferPool = (*answers)(nil)

// Put implements mem.BufferPool. gRPC calls it for an answer that is sent or dropped.
func (a *answers) Put(*[]byte) { a.taken.Add(1) }

// emptyAnswer is the encoding of a message without fields.
var emptyAnswer = countable(nil)

// encodeAnswer returns the encoding of an answer, nil for one without fields, for countedAnswer.
func encodeAnswer(m proto.Message) (wire []byte, err error) {
	if m == nil {
		return emptyAnswer, nil
	}
	return proto.Marshal(m)
}

// countedAnswer returns an encoded answer that counts at the connection of its call.
func countedAnswer(ctx context.Context, wire []byte) mem.BufferSlice {
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.Addr.(connAddr); ok {
			of := &a.conn.answers
			of.given.Add(1)
			wire = countable(wire)
			return mem.BufferSlice{mem.NewBuffer(&wire, of)}
		}
	}
	return mem.BufferSlice{mem.SliceBuffer(wire)}
}

// look reports whether more than spare answers were given before the last two looks and are not
// taken.
func (a *answers) look(spare int64) bool {
	stuck := a.taken.Load()+spare < a.earlier[0]
	a.earlier[0], a.earlier[1] = a.earlier[1], a.given.Load()
	return stuck
}

// closeStuck closes connections whose clients do not take answers within a time, until ctx ends.
func (s *splitter) closeStuck(ctx context.Context, within time.Duration) {
	ticker := time.NewTicker(within / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, c := range s.open() {
			spare := int64(spareAnswers)
			if c.proxy {
				spare = spareProxyAnswers
			}
			if c.answers.look(spare) {
				_ = c.Close()
			}
		}
	}
}
