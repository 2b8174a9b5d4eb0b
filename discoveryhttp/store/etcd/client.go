package etcd

import (
	"context"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

const (
	// dialTimeout bounds one connection attempt to one member, and the request for
	// an authentication token.
	dialTimeout = 3 * time.Second
	// dialPause and maxDialPause are the first and the longest pause between
	// connection attempts.
	dialPause    = 100 * time.Millisecond
	maxDialPause = time.Second
	// keepaliveAfter is the idle time before a connection is probed. etcd closes
	// connections that are probed more often than every 5 seconds
	// (--grpc-keepalive-min-time).
	keepaliveAfter = 10 * time.Second
	// keepaliveTimeout is how long a member may take to answer a probe.
	keepaliveTimeout = 2 * time.Second
	// maxMessage bounds an answer, in bytes. A cluster within the server's limits
	// needs less.
	maxMessage = 256 << 20
	// callsWithToken is how often clientv3 makes a call: once more with a new token
	// if the token has expired.
	callsWithToken = 2
)

// connect returns a client of etcd. It requests an authentication token if there is
// a user; otherwise it does not wait for a connection.
func connect(life context.Context, o Options) (*clientv3.Client, error) {
	dial := backoff.DefaultConfig
	dial.BaseDelay, dial.MaxDelay = dialPause, maxDialPause
	attempts := len(o.Endpoints) + 1
	return clientv3.New(clientv3.Config{
		Context:              life,
		Endpoints:            o.Endpoints,
		TLS:                  o.TLS,
		Username:             o.User,
		Password:             o.Password,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    keepaliveAfter,
		DialKeepAliveTimeout: keepaliveTimeout,
		MaxCallRecvMsgSize:   maxMessage,
		MaxUnaryRetries:      callsWithToken,
		// The errors that it returns have the same information.
		Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: dial, MinConnectTimeout: dialTimeout}),
			grpc.WithChainUnaryInterceptor(tryMembers(attempts)),
		},
	})
}

// tryMembers returns an interceptor that makes a call up to attempts times while
// members are unavailable or do not answer. gRPC takes the members in turn. The
// calls of this package may be repeated: they write the same the second time.
//
// Each attempt but the last has half of the time that is left. A call fails at once
// if no member can be connected to, with the reason.
func tryMembers(attempts int) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
		options = append(slices.Clip(options), grpc.WaitForReady(false))
		try := func(last bool) error {
			if deadline, ok := ctx.Deadline(); ok && !last {
				half, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
				defer cancel()
				return invoke(half, method, request, reply, conn, options...)
			}
			return invoke(ctx, method, request, reply, conn, options...)
		}
		var err error
		for attempt := range attempts {
			err = try(attempt == attempts-1)
			if code := status.Code(err); ctx.Err() != nil || code != codes.Unavailable && code != codes.DeadlineExceeded {
				break
			}
		}
		return err
	}
}

// followConnection resynchronizes all mirrors when no member is connected any more,
// until the store is closed.
//
// clientv3 resumes a watch at another member, and without any member it waits in
// silence. Watchers must not: another server may still reach etcd. The revisions of
// an etcd that comes back from a backup would also be lower than the watch's.
func (s *Store) followConnection() {
	conn := s.client.ActiveConnection()
	for {
		state := conn.GetState()
		if !conn.WaitForStateChange(s.ctx, state) {
			return
		}
		if state != connectivity.Ready {
			continue
		}
		s.mu.Lock()
		restart := s.restartUsage
		s.mu.Unlock()
		s.doubtReadiness()
		if restart != nil {
			restart()
		}
		mirrors := s.allMirrors()
		s.log.Warn("etcd connection lost; resynchronizing", "clusters", len(mirrors))
		for _, m := range mirrors {
			m.resync()
		}
	}
}
