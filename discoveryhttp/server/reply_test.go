package server

import (
	"context"
	"net/netip"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// fakeStream is a call whose answer is queued.
type fakeStream struct {
	grpc.ServerStream

	ctx    context.Context //nolint:containedctx // that of the call
	send   func()
	queued mem.BufferSlice
}

func (s *fakeStream) Context() context.Context { return s.ctx }

func (s *fakeStream) SendMsg(m any) error {
	s.queued = m.(mem.BufferSlice)
	s.send()
	return nil
}

// TestAnswerToACallThatIsReset has gRPC keep an answer, drop it without giving it back, and give it
// back late.
func TestAnswerToACallThatIsReset(t *testing.T) {
	for name, c := range map[string]struct{ reset, givenBack, want bool }{
		"not taken":                 {},
		"taken":                     {givenBack: true, want: true},
		"reset and dropped":         {reset: true, want: true},
		"reset, and given back too": {reset: true, givenBack: true, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &grpcConn{calls: map[*openCall]struct{}{}}
			s := &Server{calls: newQuota[netip.Addr](0, 0)}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stream := &fakeStream{ctx: ctx, send: func() {
				if c.reset {
					cancel()
				}
			}}
			open, err := s.open(netip.Addr{}, conn)
			if err != nil {
				t.Fatal(err)
			}
			if err := sendAnswer(stream, []byte("answer"), open); err != nil {
				t.Fatal(err)
			}
			if c.givenBack {
				stream.queued.Free()
			}
			want := int64(0)
			if c.want {
				want = 1
			}
			if given, taken := conn.answers.given.Load(), conn.answers.taken.Load(); given != 1 || taken != want {
				t.Errorf("%d given, %d taken, want 1 and %d", given, taken, want)
			}
			if open := s.calls.count(); int64(open) != 1-want {
				t.Errorf("%d calls are open", open)
			}
		})
	}
}
