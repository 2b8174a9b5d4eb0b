package server

import (
	"context"
	runtimemetrics "runtime/metrics"
	"slices"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/spanmesh/span/discoveryhttp/server/door"
	"github.com/spanmesh/span/discoveryhttp/server/page"
)

// record keeps what the page shows, until ctx ends.
func (s *Server) record(ctx context.Context) {
	if s.options.Page == Off {
		return
	}
	started := time.Now()
	ticker := time.NewTicker(page.Interval)
	defer ticker.Stop()
	for {
		s.recordOnce(ctx, started)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// recordOnce puts a reading on the board.
func (s *Server) recordOnce(ctx context.Context, started time.Time) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ready := s.store.Ready(ctx) == nil
	now, stats := time.Now(), s.store.Stats()
	r := page.Reading{
		Uptime:   now.Sub(started),
		Clusters: stats.Clusters, Affiliates: stats.Affiliates, Endpoints: stats.Endpoints, Watches: stats.Watchers,
		Memory: memoryInUse(), Stored: stats.Bytes,
	}
	s.metrics.read(&r)
	if s.connections != nil {
		readConnections(&r, s.connections())
	}
	s.board.Record(now, r, page.Store{Kind: stats.Kind, Ready: ready, File: stats.File, Written: stats.Written})
}

// memoryInUse returns the memory that the runtime has from the system, in bytes.
func memoryInUse() int64 {
	samples := []runtimemetrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	runtimemetrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64()) //nolint:gosec // less than the memory there is
}

func readConnections(r *page.Reading, s door.Stats) {
	r.Connections = s.Open
	r.Refusals[page.Connections] = s.Refused + s.Replaced
	r.Refusals[page.Silent] = s.Unrouted + s.Stuck
}

// read reads the calls, the refusals of calls and the durations.
func (m *metrics) read(r *page.Reading) {
	each(m.calls, func(labels map[string]string, values *dto.Metric) {
		n := uint64(values.GetCounter().GetValue())
		if i := slices.Index(page.Calls[:], labels["method"]); i >= 0 {
			r.Calls[i] += n
		}
		if reason, refused := reasonOf(labels["code"]); refused {
			r.Refusals[reason] += n
		}
	})
	each(m.durations, func(labels map[string]string, values *dto.Metric) {
		i := slices.Index(page.Calls[:page.Timed], labels["method"])
		if i < 0 {
			return
		}
		h := &r.Durations[i]
		for k, bucket := range values.GetHistogram().GetBucket() {
			if k < len(page.Bounds) {
				h[k] = bucket.GetCumulativeCount()
			}
		}
		h[len(h)-1] = values.GetHistogram().GetSampleCount()
	})
}

// each calls do for all metrics of a collector.
func each(from prometheus.Collector, do func(labels map[string]string, values *dto.Metric)) {
	all := make(chan prometheus.Metric)
	go func() {
		from.Collect(all)
		close(all)
	}()
	for metric := range all {
		var values dto.Metric
		if metric.Write(&values) != nil {
			continue // a metric of ours can be written
		}
		labels := map[string]string{}
		for _, l := range values.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		do(labels, &values)
	}
}

// reasonOf returns why a call with a result code was refused. One that its caller has given up was
// not.
func reasonOf(code string) (reason page.Reason, refused bool) {
	switch code {
	case codeOf(nil), connect.CodeCanceled.String(), connect.CodeDeadlineExceeded.String():
		return 0, false
	case connect.CodeResourceExhausted.String(), connect.CodeAborted.String():
		return page.Limit, true
	case connect.CodeUnauthenticated.String(), connect.CodePermissionDenied.String():
		return page.Token, true
	case connect.CodeInvalidArgument.String(), connect.CodeUnimplemented.String():
		return page.Invalid, true
	}
	return page.Failed, true
}
