package cli

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
)

// hanging is an agent that answers no call after a time, nor a request for its health.
type hanging struct {
	agentpbconnect.AgentServiceClient
	from time.Time
}

func (h hanging) GetHealth(ctx context.Context, _ *connect.Request[agentpb.GetHealthRequest]) (*connect.Response[agentpb.GetHealthResponse], error) {
	if time.Now().Before(h.from) {
		return connect.NewResponse(&agentpb.GetHealthResponse{}), nil
	}
	<-ctx.Done()
	return nil, connect.NewError(connect.CodeDeadlineExceeded, ctx.Err())
}

// fakeStream is a stream whose first message comes after a time.
type fakeStream struct {
	connect.StreamingClientConn
	ctx   context.Context
	after time.Duration
}

func (s fakeStream) Receive(any) error {
	select {
	case <-s.ctx.Done():
		return connect.NewError(connect.CodeCanceled, s.ctx.Err())
	case <-time.After(s.after):
		return nil
	}
}

func TestGuardEndsCallsOfAnAgentThatHangs(t *testing.T) {
	hangs := errors.New("it hangs")
	for name, test := range map[string]struct {
		hangsAfter, answersAfter time.Duration
		want                     error
		took                     time.Duration
	}{
		"an answer at once":                      {0, time.Millisecond, nil, time.Millisecond},
		"a long call of an agent that works":     {time.Hour, 5 * time.Minute, nil, 5 * time.Minute},
		"an agent that hangs":                    {0, time.Hour, hangs, 70 * time.Second},
		"an agent that hangs during a long call": {time.Minute, time.Hour, hangs, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				g := &guard{func() bool { return true }, hanging{from: start.Add(test.hangsAfter)}, func(time.Duration) error { return hangs }}
				_, err := g.WrapUnary(func(ctx context.Context, _ connect.AnyRequest) (connect.AnyResponse, error) {
					return nil, fakeStream{ctx: ctx, after: test.answersAfter}.Receive(nil)
				})(t.Context(), connect.NewRequest(&agentpb.ListRequest{}))
				if took := time.Since(start); !errors.Is(err, test.want) || err == nil != (test.want == nil) || took != test.took {
					t.Errorf("a call ends after %v: %v", took, err)
				}
				start = time.Now()
				again := &guard{g.isAgents, hanging{from: start.Add(test.hangsAfter)}, g.hangs}
				stream := again.WrapStreamingClient(func(ctx context.Context, _ connect.Spec) connect.StreamingClientConn {
					return fakeStream{ctx: ctx, after: test.answersAfter}
				})(t.Context(), connect.Spec{})
				err = stream.Receive(nil)
				if took := time.Since(start); !errors.Is(err, test.want) || err == nil != (test.want == nil) || took != test.took {
					t.Errorf("a stream's message comes after %v: %v", took, err)
				}
			})
		})
	}
}
