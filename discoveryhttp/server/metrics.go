package server

import (
	"context"
	"errors"
	"net/netip"
	"path"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/spanmesh/span/discoveryhttp/server/page"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// namespace is the prefix of all metric names.
const namespace = "spanctl_discovery"

// metrics are the metrics of a server. They intercept all calls.
type metrics struct {
	registry  *prometheus.Registry
	calls     *prometheus.CounterVec
	durations *prometheus.HistogramVec
	store     *prometheus.HistogramVec
	// succeeded are the metrics of calls that succeed, by procedure.
	succeeded map[string]succeeded
}

// succeeded are the metrics of the calls of one method that succeed.
type succeeded struct {
	calls prometheus.Counter
	// duration is nil for a stream.
	duration prometheus.Observer
}

var _ connect.Interceptor = (*metrics)(nil)

func newMetrics(s Store) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "calls_total",
			Help: "Calls by method and result code. A stream is counted when it ends."}, []string{"method", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: "call_seconds",
			Help: "Duration of calls other than streams, in seconds.", Buckets: page.Bounds[:]}, []string{"method"}),
		store: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: "store_seconds",
			Help: "Duration of store operations, in seconds.", Buckets: page.Bounds[:]}, []string{"operation"}),
	}
	m.succeeded = map[string]succeeded{}
	for _, procedure := range procedures {
		method := path.Base(procedure)
		of := succeeded{calls: m.calls.WithLabelValues(method, codeOf(nil))}
		if procedure != serverpbconnect.ClusterWatchProcedure {
			of.duration = m.durations.WithLabelValues(method)
		}
		m.succeeded[procedure] = of
	}
	m.registry.MustRegister(m.calls, m.durations, m.store, statsCollector{s},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// codeOf returns the result code of a call. One that its caller has given up has the error of its context.
func codeOf(err error) string {
	var answered *connect.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &answered):
		return answered.Code().String()
	case errors.Is(err, context.Canceled):
		return connect.CodeCanceled.String()
	case errors.Is(err, context.DeadlineExceeded):
		return connect.CodeDeadlineExceeded.String()
	default:
		return connect.CodeUnknown.String()
	}
}

// observe records a call that began at started and has ended with err.
func (m *metrics) observe(procedure string, started time.Time, err error) {
	of := m.succeeded[procedure]
	if of.duration != nil {
		of.duration.Observe(time.Since(started).Seconds())
	}
	if err == nil && of.calls != nil {
		of.calls.Inc()
		return
	}
	m.calls.WithLabelValues(path.Base(procedure), codeOf(err)).Inc()
}

// WrapUnary implements connect.Interceptor.
func (m *metrics) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		started := time.Now()
		response, err := next(ctx, req)
		m.observe(req.Spec().Procedure, started, err)
		return response, err
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (m *metrics) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		started := time.Now()
		err := next(ctx, conn)
		m.observe(conn.Spec().Procedure, started, err)
		return err
	}
}

// WrapStreamingClient implements connect.Interceptor. A server has no client.
func (*metrics) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// statsCollector reads the statistics of the store when metrics are collected.
type statsCollector struct{ store Store }

func gauge(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_"+name, help, nil, nil)
}

var (
	clustersGauge   = gauge("clusters", "Clusters with an affiliate, a watcher or a pinned token. With etcd: clusters watched on this server.")
	affiliatesGauge = gauge("affiliates", "Affiliates of these clusters.")
	watchersGauge   = gauge("watchers", "Open watches on this server.")
	invitesGauge    = gauge("invitations", "Invitations that are known, with those that have expired within a day.")
	backlogGauge    = gauge("backlog_bytes", "About what changes take that watches have not taken, in bytes, as --max-backlog counts it.")
)

// Describe implements prometheus.Collector.
func (statsCollector) Describe(out chan<- *prometheus.Desc) {
	out <- clustersGauge
	out <- affiliatesGauge
	out <- watchersGauge
	out <- invitesGauge
	out <- backlogGauge
}

// Collect implements prometheus.Collector.
func (c statsCollector) Collect(out chan<- prometheus.Metric) {
	stats := c.store.Stats()
	out <- prometheus.MustNewConstMetric(clustersGauge, prometheus.GaugeValue, float64(stats.Clusters))
	out <- prometheus.MustNewConstMetric(affiliatesGauge, prometheus.GaugeValue, float64(stats.Affiliates))
	out <- prometheus.MustNewConstMetric(watchersGauge, prometheus.GaugeValue, float64(stats.Watchers))
	out <- prometheus.MustNewConstMetric(invitesGauge, prometheus.GaugeValue, float64(stats.Invitations))
	out <- prometheus.MustNewConstMetric(backlogGauge, prometheus.GaugeValue, float64(stats.Backlog))
}

// measured is a store whose operations are measured.
type measured struct {
	Store
	update, remove, list, watch prometheus.Observer
}

func (m *metrics) measure(s Store) Store {
	return measured{s, m.store.WithLabelValues("update"), m.store.WithLabelValues("delete"),
		m.store.WithLabelValues("list"), m.store.WithLabelValues("watch")}
}

// countersBy returns a counter for each value of a label, which reads the value's part of the counts.
func countersBy[C any](label string, o prometheus.CounterOpts, counts func() C, parts map[string]func(C) uint64) (collectors []prometheus.Collector) {
	o.Namespace = namespace
	for value, part := range parts {
		o.ConstLabels = prometheus.Labels{label: value}
		collectors = append(collectors, prometheus.NewCounterFunc(o, func() float64 { return float64(part(counts())) }))
	}
	return collectors
}

// observe records the time since started.
func observe(started time.Time, o prometheus.Observer) { o.Observe(time.Since(started).Seconds()) }

func (m measured) Update(ctx context.Context, clusterID string, u store.Update) error {
	defer observe(time.Now(), m.update)
	return m.Store.Update(ctx, clusterID, u)
}

func (m measured) Delete(ctx context.Context, clusterID, id string) error {
	defer observe(time.Now(), m.remove)
	return m.Store.Delete(ctx, clusterID, id)
}

func (m measured) List(ctx context.Context, clusterID string) (*store.Snapshot, error) {
	defer observe(time.Now(), m.list)
	return m.Store.List(ctx, clusterID)
}

func (m measured) Watch(ctx context.Context, clusterID string, caller netip.Addr, token []byte) (*store.Snapshot, *store.Watcher, error) {
	defer observe(time.Now(), m.watch)
	return m.Store.Watch(ctx, clusterID, caller, token)
}
