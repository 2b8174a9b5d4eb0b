package metrics

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/state"
)

// maxScrapes is how many requests are answered at a time. Others are refused.
const maxScrapes = 4

var (
	// rttBuckets range from 0.5 ms to 4.1 s.
	rttBuckets = prometheus.ExponentialBuckets(0.0005, 2, 14)
	// passBuckets range from 0.5 ms to 32.8 s.
	passBuckets = prometheus.ExponentialBuckets(0.0005, 2, 17)
)

// Metrics counts what an agent does, and collects what its State has. It is safe for concurrent
// use.
type Metrics struct {
	registry *prometheus.Registry
	read     func() State

	passes, changes, repairs, events *prometheus.CounterVec
	rtts, durations                  prometheus.Histogram

	mu sync.Mutex
	// probes are the counts of the peers, and sweepAt is how many there are when those of peers that have
	// left are dropped: nobody may collect them.
	probes  map[mesh.Key]*probes
	sweepAt int
}

// minSweep is the least Metrics.sweepAt.
const minSweep = 1024

// probes counts the echoes to a peer.
type probes struct {
	answered, lost float64
	// waiting is set while an echo has no answer.
	waiting bool
}

var _ reconciler.Meter = (*Metrics)(nil)

// New returns metrics that are zero. Read is called whenever they are collected; it must not wait
// for what the agent does.
//
// The metrics of the process are not among them: those of node_exporter have the same names, and it
// would refuse a file with both.
func New(read func() State) *Metrics {
	m := &Metrics{
		registry:  prometheus.NewRegistry(),
		read:      read,
		passes:    prometheus.NewCounterVec(passes.opts(), passes.Labels),
		changes:   prometheus.NewCounterVec(changes.opts(), changes.Labels),
		repairs:   prometheus.NewCounterVec(repairs.opts(), repairs.Labels),
		events:    prometheus.NewCounterVec(events.opts(), events.Labels),
		rtts:      prometheus.NewHistogram(prometheus.HistogramOpts{Name: rtts.Name, Help: rtts.Help, Buckets: rttBuckets}),
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{Name: duration.Name, Help: duration.Help, Buckets: passBuckets}),
		probes:    map[mesh.Key]*probes{},
		sweepAt:   minSweep,
	}
	// A counter that appears with its first count has not increased, as far as Prometheus can tell.
	for _, result := range []string{resultOK, resultFailed} {
		m.passes.WithLabelValues(result)
	}
	for _, kind := range planprint.Kinds {
		m.repairs.WithLabelValues(kind)
		for _, action := range []state.Action{state.Create, state.Update, state.Delete} {
			m.changes.WithLabelValues(kind, string(action))
		}
	}
	m.registry.MustRegister(m.passes, m.changes, m.repairs, m.events, m.rtts, m.durations, collector{m})
	return m
}

// Add adds what another collector has.
func (m *Metrics) Add(c prometheus.Collector) { m.registry.MustRegister(c) }

// Handler returns what serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, ErrorHandling: promhttp.ContinueOnError})
}

const (
	resultOK     = "ok"
	resultFailed = "failed"
)

// Pass implements reconciler.Meter.
func (m *Metrics) Pass(took time.Duration, err error) {
	result := resultOK
	if err != nil {
		result = resultFailed
	}
	m.passes.WithLabelValues(result).Inc()
	m.durations.Observe(took.Seconds())
}

// Changed implements reconciler.Meter.
func (m *Metrics) Changed(kind string, action state.Action) {
	m.changes.WithLabelValues(kind, string(action)).Inc()
}

// Repaired implements reconciler.Meter.
func (m *Metrics) Repaired(kind string) { m.repairs.WithLabelValues(kind).Inc() }

// Recorded implements reconciler.Meter.
func (m *Metrics) Recorded(reason string) { m.events.WithLabelValues(reason).Inc() }

// Probed implements reconciler.Meter.
func (m *Metrics) Probed(peer mesh.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.probesOf(peer)
	if p.waiting && p.answered > 0 {
		p.lost++
	}
	p.waiting = true
}

// Answered implements reconciler.Meter.
func (m *Metrics) Answered(peer mesh.Key, rtt time.Duration) {
	if rtt > 0 {
		m.rtts.Observe(rtt.Seconds())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.probesOf(peer)
	p.answered++
	p.waiting = false
}

// probesOf returns the counts of a peer. m.mu is held.
func (m *Metrics) probesOf(peer mesh.Key) *probes {
	p := m.probes[peer]
	if p == nil {
		if len(m.probes) >= m.sweepAt {
			m.sweep(m.read().Peers)
		}
		p = &probes{}
		m.probes[peer] = p
	}
	return p
}

// counts returns the counts of the peers, and forgets those of others.
func (m *Metrics) counts(of []Peer) map[mesh.Key]probes {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sweep(of)
}

// sweep is counts with m.mu held.
func (m *Metrics) sweep(of []Peer) map[mesh.Key]probes {
	counts := make(map[mesh.Key]probes, len(of))
	for i := range of {
		if p := m.probes[of[i].Key]; p != nil {
			counts[of[i].Key] = *p
		}
	}
	for key := range m.probes {
		if _, present := counts[key]; !present {
			delete(m.probes, key)
		}
	}
	m.sweepAt = max(2*len(counts), minSweep)
	return counts
}
