package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// expireInterval is how often expired affiliates are removed.
	expireInterval = 15 * time.Second
	// headerTimeout bounds how long a client may take to send a request's header.
	headerTimeout = 10 * time.Second
	// readTimeout bounds how long a client may take to send a whole request.
	readTimeout = 10 * time.Second
	// idleTimeout is how long a connection without requests stays open.
	idleTimeout = 2 * time.Minute
	// maxHeader bounds the header of a request, in bytes.
	maxHeader = 16 << 10
	// maxStreams bounds the concurrent calls of one connection. A proxy has few
	// connections for many machines.
	maxStreams = 1000
	// shutdownTimeout bounds how long a shutdown waits for calls to end.
	shutdownTimeout = 5 * time.Second
)

// Run serves on listeners until ctx ends, and closes them. With certificates it
// serves HTTP/1.1 and HTTP/2 over TLS, without them both in plain text. The store is
// not used any more when Run has returned; the caller closes it.
func Run(ctx context.Context, listeners []net.Listener, certificates *tls.Config, o Options) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(certificates != nil)
	protocols.SetUnencryptedHTTP2(certificates == nil)
	httpServer := &http.Server{
		Handler:           New(ctx, o).Handler(),
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		TLSConfig:         certificates,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, listener := range listeners {
		group.Go(func() error {
			var err error
			if certificates != nil {
				err = httpServer.ServeTLS(listener, "", "")
			} else {
				err = httpServer.Serve(listener)
			}
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return err
		})
	}
	group.Go(func() error {
		<-groupCtx.Done()
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := httpServer.Shutdown(stopCtx); err != nil {
			return httpServer.Close()
		}
		return nil
	})
	group.Go(func() error { return expire(groupCtx, o.Store, o.Log) })
	return group.Wait()
}

// expire removes what has expired, until ctx ends.
func expire(ctx context.Context, s Store, log *slog.Logger) error {
	ticker := time.NewTicker(expireInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if err := s.Expire(now); err != nil {
				log.Error("removing expired affiliates failed", "error", err)
			}
		}
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
