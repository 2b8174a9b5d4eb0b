package cli

import (
	"context"
	"errors"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
)

// hangTimeout is how long the health may take that is asked for during a long call. It waits for
// nothing, but a machine may have much else to do.
const hangTimeout = time.Minute

// guard ends calls of an agent that hangs. A call may take long for a reason, such as a pass that
// waits for the kernel: after each answerTimeout without an answer, guard asks for the health.
type guard struct {
	// isAgents reports whether calls are answered by another process.
	isAgents func() bool
	// health asks for the health.
	health agentpbconnect.AgentServiceClient
	// hangs is the error of a call that a hanging agent does not answer.
	hangs func(within time.Duration) error
}

var _ connect.Interceptor = (*guard)(nil)

// errNoAnswer is the cause of the end of a call that guard ends.
var errNoAnswer = errors.New("the agent does not answer")

// watch returns a context for a call, which ends with errNoAnswer once the agent hangs, and what
// ends the watch.
func (g *guard) watch(ctx context.Context) (watched context.Context, done func()) {
	watched, cancel := context.WithCancelCause(ctx)
	over, stop := context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(answerTimeout)
		defer tick.Stop()
		for {
			select {
			case <-over.Done():
				return
			case <-tick.C:
			}
			if !g.isAgents() {
				return
			}
			within, end := context.WithTimeout(over, hangTimeout)
			_, err := g.health.GetHealth(within, connect.NewRequest(&agentpb.GetHealthRequest{}))
			late := isLate(within, err) && over.Err() == nil
			end()
			if late {
				cancel(errNoAnswer)
				return
			}
		}
	}()
	return watched, sync.OnceFunc(stop)
}

// errorOf returns the error of a call.
func (g *guard) errorOf(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errNoAnswer) {
		return g.hangs(answerTimeout + hangTimeout)
	}
	return err
}

// WrapUnary implements connect.Interceptor.
func (g *guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		if request.Spec().Procedure == agentpbconnect.AgentServiceGetHealthProcedure {
			return next(ctx, request) // it has a timeout of its own
		}
		ctx, done := g.watch(ctx)
		defer done()
		response, err := next(ctx, request)
		return response, g.errorOf(ctx, err)
	}
}

// WrapStreamingClient implements connect.Interceptor. The watch of a stream ends with its first
// message.
func (g *guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		ctx, done := g.watch(ctx)
		return &guardedStream{next(ctx, spec), g, ctx, done}
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (g *guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// guardedStream is a stream whose first message is waited for with guard.
type guardedStream struct {
	connect.StreamingClientConn
	guard *guard
	ctx   context.Context //nolint:containedctx // that of the call, as the stream itself has it
	done  func()
}

func (s *guardedStream) Receive(message any) error {
	err := s.StreamingClientConn.Receive(message)
	s.done()
	return s.guard.errorOf(s.ctx, err)
}

func (s *guardedStream) CloseResponse() error {
	s.done()
	return s.StreamingClientConn.CloseResponse()
}
