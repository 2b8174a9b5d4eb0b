package server

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/server/door"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
)

const (
	// directStreams bounds the concurrent calls of one connection.
	directStreams = 250
	// proxyStreams is directStreams of a trusted proxy, which has few connections for many
	// machines.
	proxyStreams = 1000
	// headerList bounds the decoded header of a call, in bytes.
	headerList = 4 << 10
	// requestTimeout bounds how long a request may take to arrive.
	requestTimeout = 10 * time.Second
	// grpcIdle is how long a connection without calls stays open.
	grpcIdle = 2 * time.Minute
	// pingAfter is the silence after which the server checks that a client is alive, and
	// pingTimeout how long it waits for the answer.
	pingAfter, pingTimeout = time.Minute, 20 * time.Second
	// pingInterval is the least time between two pings of an honest client.
	pingInterval = 5 * time.Second
	// grpcBuffer is the size of the read and of the write buffer of a connection, in bytes.
	// A connection has a write buffer while it writes.
	grpcBuffer = 16 << 10
)

// ServeGRPC serves the protocol by gRPC on the connections of a listener until ctx ends, and
// closes the listener. The connections are in plain text: who has accepted them has ended TLS.
func (s *Server) ServeGRPC(ctx context.Context, listener net.Listener) error {
	split := newSplitter(listener, s.callers.trusts)
	group, groupCtx := errgroup.WithContext(ctx)
	for queue, streams := range map[*door.Listener]uint32{split.direct: directStreams, split.proxies: proxyStreams} {
		g := s.newGRPC(streams)
		group.Go(func() error {
			if err := g.Serve(queue); !errors.Is(err, grpc.ErrServerStopped) {
				return err
			}
			return nil
		})
		group.Go(func() error {
			<-groupCtx.Done()
			stopGRPC(g)
			return nil
		})
	}
	group.Go(func() error {
		err := split.run()
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	group.Go(func() error {
		<-groupCtx.Done()
		_ = listener.Close()
		return nil
	})
	group.Go(func() error {
		split.closeStuck(groupCtx, s.options.Limits.Send)
		return nil
	})
	return group.Wait()
}

// stopGRPC lets calls end for shutdownTimeout.
func stopGRPC(g *grpc.Server) {
	defer time.AfterFunc(shutdownTimeout, g.Stop).Stop()
	g.GracefulStop()
}

// newGRPC returns a gRPC server of the protocol. No compression is registered, so that
// compressed requests are refused as unimplemented.
func (s *Server) newGRPC(streams uint32) *grpc.Server {
	g := grpc.NewServer(
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxConcurrentStreams(streams),
		grpc.MaxRecvMsgSize(s.options.Limits.request()),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxHeaderListSize(headerList),
		grpc.ConnectionTimeout(requestTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: grpcIdle, Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingInterval, PermitWithoutStream: true}),
		// Windows that do not grow save the pings that measure the path.
		grpc.StaticStreamWindowSize(minWindow),
		grpc.StaticConnWindowSize(minWindow),
		grpc.ReadBufferSize(grpcBuffer),
		grpc.WriteBufferSize(grpcBuffer),
		grpc.InTapHandle(s.tapCall),
	)
	g.RegisterService(&grpcService, s)
	return g
}

// minWindow is the smallest window that gRPC takes, in bytes. It is larger than a request.
const minWindow = 64<<10 - 1

// requestTimer is the context key of the timer that ends a call without a request.
type requestTimer struct{}

// tapCall refuses a call that is not encoded in protobuf, and one whose request does not
// arrive in time. It also refuses methods that do not exist: no handler would stop the timer
// of such a call, which keeps the call in memory.
func (s *Server) tapCall(ctx context.Context, info *tap.Info) (context.Context, error) {
	if !slices.Contains(procedures, info.FullMethodName) {
		return ctx, status.Error(codes.Unimplemented, "the server has no such method")
	}
	for _, t := range info.Header["content-type"] {
		if _, encoding, _ := strings.Cut(t, "application/grpc"); encoding != "" && encoding != "+proto" {
			return ctx, status.Errorf(codes.Unimplemented, "the server takes application/grpc and application/grpc+proto, not %q", t)
		}
	}
	switch info.FullMethodName {
	case serverpbconnect.ClusterWatchProcedure, serverpbconnect.ClusterListProcedure:
		return s.withRequestTimer(ctx), nil
	}
	timed, cancel := context.WithTimeout(ctx, s.requestTimeout+s.options.Limits.MaxWait)
	return unaryContext{timed, cancel}, nil
}

// unaryContext is the context of a call with one response. The end of the call ends it, as
// the parent of the timed context.
type unaryContext struct {
	context.Context
	cancel context.CancelFunc
}

// withRequestTimer returns a context that ends after s.requestTimeout, unless arrived is
// called.
func (s *Server) withRequestTimer(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	timer := time.AfterFunc(s.requestTimeout, func() { cancel(context.DeadlineExceeded) })
	// A call that is refused at once must not be kept for the time of the timer.
	unregister := context.AfterFunc(parent, func() { timer.Stop() })
	return context.WithValue(ctx, requestTimer{}, func() {
		timer.Stop()
		unregister()
	})
}

// arrived stops the timer of a call whose request has arrived.
func arrived(ctx context.Context) {
	if stop, ok := ctx.Value(requestTimer{}).(func()); ok {
		stop()
	}
}

// grpcService has all methods. Each is served as a stream, which is the same on the wire: so a slow
// reader of a large list is noticed, and a call that is reset while its answer is sent.
var grpcService = grpc.ServiceDesc{
	ServiceName: serverpbconnect.ClusterName,
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{
		{ServerStreams: true, StreamName: "Hello", Handler: unary(serverpbconnect.ClusterHelloProcedure, func(ctx context.Context, s *Server, c call, m *serverpb.HelloRequest) (proto.Message, error) {
			return s.hello(ctx, c, m)
		})},
		{ServerStreams: true, StreamName: "AffiliateUpdate", Handler: unary(serverpbconnect.ClusterAffiliateUpdateProcedure, func(ctx context.Context, s *Server, c call, m *serverpb.AffiliateUpdateRequest) (proto.Message, error) {
			return nil, s.update(ctx, c, m)
		})},
		{ServerStreams: true, StreamName: "AffiliateDelete", Handler: unary(serverpbconnect.ClusterAffiliateDeleteProcedure, func(ctx context.Context, s *Server, c call, m *serverpb.AffiliateDeleteRequest) (proto.Message, error) {
			return nil, s.remove(ctx, c, m)
		})},
		{StreamName: "List", ServerStreams: true, Handler: stream(serverpbconnect.ClusterListProcedure, (*Server).grpcList)},
		{StreamName: "Watch", ServerStreams: true, Handler: stream(serverpbconnect.ClusterWatchProcedure, (*Server).grpcWatch)},
	},
}

// request is a pointer to a request message.
type request[T any] interface {
	*T
	proto.Message
}

// unary returns the handler of a method with one response. A response of nil has no fields.
func unary[T any, M request[T]](procedure string, do func(context.Context, *Server, call, M) (proto.Message, error)) grpc.StreamHandler {
	return func(srv any, out grpc.ServerStream) error {
		s := srv.(*Server)
		started := time.Now()
		m := M(new(T))
		ctx := out.Context()
		open, err := s.openGRPC(ctx)
		if err != nil {
			return grpcError(ctx, err)
		}
		sayTime(ctx)
		answered := false
		defer func() {
			if !answered {
				open.over(ctx)
			}
		}()
		if err := receive(out, m); err != nil {
			return err
		}
		response, err := do(ctx, s, s.grpcCall(ctx, procedure, open.caller), m)
		s.metrics.observe(procedure, started, err)
		if err != nil {
			return grpcError(ctx, err)
		}
		wire, err := encodeAnswer(response)
		if err != nil {
			return err
		}
		answered = true
		return sendAnswer(out, wire, open)
	}
}

// stream returns the handler of a method that is served as a stream.
func stream[T any, M request[T]](procedure string, do func(*Server, grpc.ServerStream, call, M) error) grpc.StreamHandler {
	return func(srv any, out grpc.ServerStream) error {
		s := srv.(*Server)
		started := time.Now()
		m := M(new(T))
		ctx := out.Context()
		open, err := s.openGRPC(ctx)
		if err != nil {
			arrived(ctx)
			return grpcError(ctx, err)
		}
		defer open.over(ctx)
		sayTime(ctx)
		err = receive(out, m)
		arrived(ctx)
		if err != nil {
			return err
		}
		err = do(s, out, s.grpcCall(ctx, procedure, open.caller), m)
		s.metrics.observe(procedure, started, err)
		return grpcError(ctx, err)
	}
}

// sayTime makes an answer say the server's time, as answers over HTTP do: machines compare their
// clocks with it.
func sayTime(ctx context.Context) {
	_ = grpc.SetHeader(ctx, metadata.Pairs("date", time.Now().UTC().Format(http.TimeFormat))) // it is sent once, later
}

// grpcCall returns what the server needs to know of a call.
func (s *Server) grpcCall(ctx context.Context, procedure string, caller netip.Addr) call {
	c := call{procedure: procedure, caller: caller}
	if s.options.Auth == Member {
		if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) > 0 {
			c.authorization = values[0]
		}
	}
	return c
}

// grpcError returns the error of a gRPC call, and sets the trailers that go with it.
func grpcError(ctx context.Context, err error) error {
	var e *connect.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		setTrailer(ctx, e.Meta())
		return status.Error(codes.Code(e.Code()), e.Message())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return status.FromContextError(err).Err()
	}
	return err
}

func setTrailer(ctx context.Context, header http.Header) {
	if len(header) == 0 {
		return
	}
	trailer := metadata.MD{}
	for name, values := range header {
		trailer.Append(name, values...)
	}
	// It fails only outside of a call.
	_ = grpc.SetTrailer(ctx, trailer)
}
