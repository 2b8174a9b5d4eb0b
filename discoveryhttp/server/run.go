package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/discoveryhttp/server/door"
)

const (
	// expireInterval is how often expired affiliates are removed.
	expireInterval = 15 * time.Second
	// shutdownTimeout bounds how long a shutdown waits for calls to end.
	shutdownTimeout = 5 * time.Second
)

// Run serves on listeners until ctx ends, and closes them. With certificates it
// serves HTTP/1.1 and HTTP/2 over TLS, without them both in plain text. The store is
// not used any more when Run has returned; the caller closes it.
func Run(ctx context.Context, listeners []net.Listener, certificates *tls.Config, o Options) error {
	limits := o.Limits.Connections
	limits.TrustedProxies = o.TrustedProxies
	return New(ctx, o).run(ctx, door.New(limits, certificates, o.Log), listeners)
}

// run serves what entrance lets in from listeners, until ctx ends.
func (s *Server) run(ctx context.Context, entrance *door.Door, listeners []net.Listener) error {
	o := &s.options
	s.metrics.registry.MustRegister(connectionMetrics(entrance)...)
	s.connections = entrance.Stats
	group, groupCtx := errgroup.WithContext(ctx)
	s.serveSTUN(groupCtx, group)
	if o.Relay != nil {
		group.Go(func() error { return o.Relay.Run(groupCtx) })
	}
	for _, listener := range listeners {
		group.Go(func() error { return entrance.Serve(groupCtx, listener) })
	}
	group.Go(func() error { return s.ServeGRPC(groupCtx, entrance.GRPC()) })
	group.Go(func() error { return s.serveHTTP(groupCtx, entrance.HTTP()) })
	group.Go(func() error { return expire(groupCtx, o.Store, o.Log) })
	group.Go(func() error {
		s.record(groupCtx)
		return nil
	})
	return group.Wait()
}

// connectionMetrics are the metrics of connections.
func connectionMetrics(entrance *door.Door) []prometheus.Collector {
	const help = "Connections that the server closed: refused at a limit, replaced by others at the limit of all, unrouted for lack of a request, stuck in a write."
	closed := countersBy("reason", prometheus.CounterOpts{Name: "connections_closed_total", Help: help}, entrance.Stats, map[string]func(door.Stats) uint64{
		"refused":  func(s door.Stats) uint64 { return s.Refused },
		"replaced": func(s door.Stats) uint64 { return s.Replaced },
		"unrouted": func(s door.Stats) uint64 { return s.Unrouted },
		"stuck":    func(s door.Stats) uint64 { return s.Stuck },
	})
	return append(closed, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: "connections", Help: "Open connections."},
		func() float64 { return float64(entrance.Stats().Open) }))
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
