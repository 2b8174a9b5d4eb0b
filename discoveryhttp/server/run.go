package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/discoveryhttp/server/door"
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
	limits := o.Limits.Connections
	limits.TrustedProxies = o.TrustedProxies
	entrance := door.New(limits, certificates, o.Log)
	s := New(ctx, o)
	s.metrics.registry.MustRegister(connectionMetrics(entrance)...)
	s.connections = entrance.Stats
	group, groupCtx := errgroup.WithContext(ctx)
	for _, listener := range listeners {
		group.Go(func() error { return entrance.Serve(groupCtx, listener) })
	}
	group.Go(func() error { return s.ServeGRPC(groupCtx, entrance.GRPC()) })
	httpServer := newHTTP(s.Handler(), o.Log)
	group.Go(func() error {
		if err := httpServer.Serve(entrance.HTTP()); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
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
	group.Go(func() error {
		s.record(groupCtx)
		return nil
	})
	return group.Wait()
}

// newHTTP returns a server of HTTP/1.1 and HTTP/2 on connections whose TLS is done.
func newHTTP(handler http.Handler, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:   handler,
		Protocols: protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      pingAfter,
			PingTimeout:          pingTimeout,
		},
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// connectionMetrics are the metrics of connections.
func connectionMetrics(entrance *door.Door) []prometheus.Collector {
	collectors := []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: "connections", Help: "Open connections."},
			func() float64 { return float64(entrance.Stats().Open) }),
	}
	for reason, count := range map[string]func(door.Stats) uint64{
		"refused":  func(s door.Stats) uint64 { return s.Refused },
		"replaced": func(s door.Stats) uint64 { return s.Replaced },
		"unrouted": func(s door.Stats) uint64 { return s.Unrouted },
		"stuck":    func(s door.Stats) uint64 { return s.Stuck },
	} {
		collectors = append(collectors, prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: "connections_closed_total",
			Help:        "Connections that the server closed: refused at a limit, replaced by others at the limit of all, unrouted for lack of a request, stuck in a write.",
			ConstLabels: prometheus.Labels{"reason": reason}}, func() float64 { return float64(count(entrance.Stats())) }))
	}
	return collectors
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
