package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/discoveryhttp/server/door"
)

const (
	// headerTimeout bounds how long a client may take to send a request's header.
	headerTimeout = 10 * time.Second
	// readTimeout bounds how long a client may take to send a whole request.
	readTimeout = 10 * time.Second
	// idleTimeout is how long a connection without requests stays open.
	idleTimeout = 2 * time.Minute
	// maxHeader bounds the header of a request, in bytes.
	maxHeader = 16 << 10
	// webStreams bounds the concurrent calls of one connection: a browser has few, and what a
	// connection asks for at once costs memory before it is counted.
	webStreams = 32
	// proxyWebStreams is webStreams of a trusted proxy, which has few connections for many
	// machines.
	proxyWebStreams = 1000
)

// serveHTTP serves all but gRPC on the connections of a listener until ctx ends, and closes the
// listener. The connections are in plain text.
func (s *Server) serveHTTP(ctx context.Context, listener net.Listener) error {
	handler := s.Handler()
	direct, proxies := door.NewListener(listener.Addr()), door.NewListener(listener.Addr())
	group, groupCtx := errgroup.WithContext(ctx)
	for queue, streams := range map[*door.Listener]int{direct: webStreams, proxies: proxyWebStreams} {
		h := newHTTP(handler, streams, idleTimeout, s.log)
		group.Go(func() error {
			if err := h.Serve(queue); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		group.Go(func() error {
			<-groupCtx.Done()
			stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
			defer cancel()
			if err := h.Shutdown(stopCtx); err != nil {
				return h.Close()
			}
			return nil
		})
	}
	group.Go(func() error {
		for {
			conn, err := listener.Accept()
			switch {
			case groupCtx.Err() != nil && err == nil:
				return conn.Close()
			case groupCtx.Err() != nil:
				return nil
			case err != nil:
				return err
			case s.callers.trusts(addressOf(conn.RemoteAddr())):
				proxies.Give(conn)
			default:
				direct.Give(conn)
			}
		}
	})
	group.Go(func() error {
		<-groupCtx.Done()
		_ = listener.Close()
		return nil
	})
	return group.Wait()
}

// newHTTP returns a server of HTTP/1.1 and HTTP/2 on connections whose TLS is done. Each may have
// some concurrent calls, and is closed when it has had none for a time.
func newHTTP(handler http.Handler, streams int, idle time.Duration, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:     handler,
		Protocols:   protocols,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: streams,
			SendPingTimeout:      pingAfter,
			PingTimeout:          pingTimeout,
		},
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		// See idleConns.
		IdleTimeout:    -1,
		ConnState:      (&idleConns{after: idle, timers: map[net.Conn]*time.Timer{}}).change,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// controllerKey is the context key of the call's http.ResponseController.
type controllerKey struct{}

// withController lets a stream change the read deadline of its request, which the
// HTTP server sets for all requests.
func withController(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), controllerKey{}, http.NewResponseController(w))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// clearReadDeadline lets a stream stay open for longer than readTimeout.
func clearReadDeadline(ctx context.Context) {
	if controller, ok := ctx.Value(controllerKey{}).(*http.ResponseController); ok {
		// A transport without deadlines has none to clear.
		_ = controller.SetReadDeadline(time.Time{})
	}
}
