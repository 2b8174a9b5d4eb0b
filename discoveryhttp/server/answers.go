package server

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

const (
	// spareAnswers is how many answers a connection may leave untaken for good.
	spareAnswers = 2
	// spareProxyAnswers is spareAnswers of a trusted proxy, which has many clients.
	spareProxyAnswers = 100
)

// answers counts the answers of a connection to calls that are over, and how many of them its
// client has taken. gRPC keeps a call in memory until then.
type answers struct {
	given, taken atomic.Int64
	// earlier are what was given at the last two looks. Only one goroutine looks.
	earlier [2]int64
}

// reply is an encoded answer that counts once as taken at its connection.
type reply struct {
	noBuffers

	of   *answers
	open *openCall
	wire []byte
	over atomic.Bool
}

var _ mem.BufferPool = (*reply)(nil)

// Put implements mem.BufferPool. gRPC calls it for an answer that is sent or dropped.
func (r *reply) Put(*[]byte) { r.end() }

// end counts the answer as taken, unless it is already.
func (r *reply) end() {
	if !r.over.Swap(true) {
		r.of.taken.Add(1)
		r.open.end()
	}
}

// sendAnswer sends an encoded answer that counts at the connection of its call. gRPC keeps nothing
// of a call that its client has reset, and does not give back an answer that it queues after that.
func sendAnswer(stream grpc.ServerStream, wire []byte, open *openCall) error {
	ctx := stream.Context()
	if open.conn == nil {
		defer open.end()
		return stream.SendMsg(mem.BufferSlice{mem.SliceBuffer(wire)})
	}
	r := &reply{of: &open.conn.answers, open: open, wire: countable(wire)}
	r.of.given.Add(1)
	err := stream.SendMsg(mem.BufferSlice{mem.NewBuffer(&r.wire, r)})
	// A reset ends the context before it removes the call from the queue.
	if err != nil || ctx.Err() != nil {
		r.end()
	}
	return err
}

// emptyAnswer is the encoding of a message without fields.
var emptyAnswer = countable(nil)

// encodeAnswer returns the encoding of an answer, nil for one without fields, for sendAnswer.
func encodeAnswer(m proto.Message) (wire []byte, err error) {
	if m == nil {
		return emptyAnswer, nil
	}
	return proto.Marshal(m)
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
