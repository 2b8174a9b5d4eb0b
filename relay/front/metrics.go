package front

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spanmesh/span/relay"
)

// namespace is the prefix of all metric names.
const namespace = "spanctl_relay"

func described(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

var (
	packetsTotal       = described("packets_total", "Packets that were forwarded.")
	bytesTotal         = described("bytes_total", "Bytes of WireGuard's packets that were forwarded.")
	registrationsTotal = described("registrations_total", "Handshakes with the relay that it has answered.")
	movesTotal         = described("moves_total", "Machines that came to have another address.")
	scansTotal         = described("scans_total", "Initiations whose receiver was looked for among all machines of the sender's clusters.")
	nudgesTotal        = described("nudges_total", "Answers to packets that went nowhere, which make the sender do a handshake.")
	droppedTotal       = described("dropped_total", "Packets that went nowhere, by reason; unsent by the system, and stream_full where a stream had no room.", "reason")
	machinesGauge      = described("machines", "Machines by state: joined may register, registered have an address, unregistered are senders that are none of them.", "state")
	flowsGauge         = described("flows", "Directions of sessions between two machines.")
	streamsGauge       = described("streams", "Open streams, of machines whose network lets no UDP through.")
)

// Describe implements prometheus.Collector.
func (*Front) Describe(out chan<- *prometheus.Desc) { Collector(nil).Describe(out) }

// Collect implements prometheus.Collector.
func (f *Front) Collect(out chan<- prometheus.Metric) {
	Collector(func() *Counts {
		c := f.Counts()
		return &c
	}).Collect(out)
}

// Collector collects the metrics of a relay, such as one in another process. It returns nil where there
// is none.
type Collector func() *Counts

// Describe implements prometheus.Collector.
func (Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{packetsTotal, bytesTotal, registrationsTotal, movesTotal, scansTotal, nudgesTotal, droppedTotal,
		machinesGauge, flowsGauge, streamsGauge} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (read Collector) Collect(out chan<- prometheus.Metric) {
	c := read()
	if c == nil {
		return
	}
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	counter(packetsTotal, c.Packets)
	counter(bytesTotal, c.Bytes)
	counter(registrationsTotal, c.Registrations)
	counter(movesTotal, c.Moves)
	counter(scansTotal, c.Scans)
	counter(nudgesTotal, c.Nudges)
	for reason, n := range c.Dropped {
		counter(droppedTotal, n, strings.ReplaceAll(relay.Reason(reason).String(), " ", "_"))
	}
	counter(droppedTotal, c.Unsent, "unsent")
	counter(droppedTotal, c.StreamDrops, "stream_full")
	gauge(machinesGauge, c.Members, "joined")
	gauge(machinesGauge, c.Registered, "registered")
	gauge(machinesGauge, c.Unregistered, "unregistered")
	gauge(flowsGauge, c.Flows)
	gauge(streamsGauge, c.Streams)
}
