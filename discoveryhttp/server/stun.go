package server

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/discoveryhttp/stun"
)

// serveSTUN answers on the sockets of the options until ctx ends.
func (s *Server) serveSTUN(ctx context.Context, group *errgroup.Group) {
	outside := s.options.Outside
	if outside == nil {
		return
	}
	s.metrics.registry.MustRegister(stunMetrics(outside)...)
	for _, conn := range s.options.STUN {
		group.Go(func() error { return outside.Serve(ctx, conn) })
	}
}

// stunMetrics are the metrics of the requests of STUN.
func stunMetrics(s *stun.Server) []prometheus.Collector {
	const help = "Datagrams to the port of STUN: answered, limited by a rate, refused as no request, and failed where the answer could not be sent."
	return countersBy("result", prometheus.CounterOpts{Name: "stun_requests_total", Help: help}, s.Counts, map[string]func(stun.Counts) uint64{
		"answered": func(c stun.Counts) uint64 { return c.Answered },
		"limited":  func(c stun.Counts) uint64 { return c.Limited },
		"refused":  func(c stun.Counts) uint64 { return c.Refused },
		"failed":   func(c stun.Counts) uint64 { return c.Failed },
	})
}
