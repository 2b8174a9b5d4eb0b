package metrics

import (
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spanmesh/span/cmd/spanctl/internal/version"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
)

// maxPeers is how many peers have metrics of their own, unless the config asks for more.
const maxPeers = 100

// State is what is known when metrics are collected.
type State struct {
	Health health.Report
	// Sessions are the connections to registries.
	Sessions []health.Session
	// ConfigApplied is when the config was put in force; zero without one.
	ConfigApplied time.Time
	Peers         []Peer
	// PerPeer is set if each peer has metrics of its own however many there are.
	PerPeer bool
}

// Peer is the state of a peer.
type Peer struct {
	Key mesh.Key
	// Name is no other peer's.
	Name string
	// NodeID is empty if it is not known.
	NodeID string
	// State is up while a relay carries the peer's traffic.
	State peer.State
	// Path is how packets go to the peer.
	Path peer.PathKind
	// RTT is the smoothed round-trip time; zero if it is not known.
	RTT time.Duration
	// LastHandshake is zero if there was none.
	LastHandshake               time.Time
	ReceiveBytes, TransmitBytes int64
}

// collector collects what the State of Metrics has.
type collector struct{ *Metrics }

// descs are those of the families that are collected.
var descs = func() map[*Family]*prometheus.Desc {
	m := make(map[*Family]*prometheus.Desc, len(collected))
	for _, f := range collected {
		m[f] = f.desc()
	}
	return m
}()

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range collected {
		out <- descs[f]
	}
}

// sink takes metrics.
type sink chan<- prometheus.Metric

// put adds a metric of a family, with the values of its labels.
func (out sink) put(f *Family, value float64, labels ...string) {
	kind := prometheus.GaugeValue
	if f.Kind == Counter {
		kind = prometheus.CounterValue
	}
	out <- prometheus.MustNewConstMetric(descs[f], kind, value, labels...)
}

// putTime adds a time, if there is one.
func (out sink) putTime(f *Family, t time.Time, labels ...string) {
	if !t.IsZero() {
		out.put(f, seconds(t), labels...)
	}
}

// seconds returns a time as Prometheus has it, to the millisecond.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// truth returns 1 for true.
func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Collect implements prometheus.Collector.
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	out, s := sink(metrics), c.read()
	out.put(&buildInfo, 1, version.Version, version.Commit)
	out.put(&ready, truth(s.Health.Ready))
	out.conditions(s.Health.Conditions)
	out.sessions(s.Sessions)
	out.relays(s.Health.Relays)
	out.putTime(&configApplied, s.ConfigApplied)
	out.peers(s.Peers)
	counts := c.counts(s.Peers)
	if len(s.Peers) > maxPeers && !s.PerPeer {
		return
	}
	for i := range s.Peers {
		out.peer(&s.Peers[i], counts[s.Peers[i].Key])
	}
}

// conditions adds the number of conditions of each code, at the severity of the code and at others
// that there are.
func (out sink) conditions(present []health.Condition) {
	type key struct {
		code     condition.Code
		severity condition.Severity
	}
	counts := map[key]float64{}
	for _, d := range condition.Definitions() {
		counts[key{d.Code, d.Severity}] = 0
	}
	for _, c := range present {
		counts[key{c.Code, c.Severity()}]++
	}
	for k, n := range counts {
		out.put(&conditions, n, string(k.code), string(k.severity))
	}
}

// relays adds the numbers of blind relays.
func (out sink) relays(all []health.BlindRelay) {
	counts := map[string]float64{"udp": 0, "tcp": 0, "none": 0}
	for i := range all {
		switch r := &all[i]; {
		case !r.Registered:
			counts["none"]++
		case r.OverTCP:
			counts["tcp"]++
		default:
			counts["udp"]++
		}
	}
	for by, n := range counts {
		out.put(&blindRelays, n, by)
	}
}

// registry is the sum of the sessions with a registry.
type registry struct {
	connected bool
	heard     time.Time
	failures  map[failure.Class]uint64
}

// sessions adds the connections to registries, and what they tell of the clock.
func (out sink) sessions(all []health.Session) {
	registries := map[string]*registry{}
	for i := range all {
		x, name := &all[i], nameOf(&all[i])
		r := registries[name]
		if r == nil {
			r = &registry{failures: map[failure.Class]uint64{}}
			registries[name] = r
		}
		r.connected = r.connected || x.State == health.Connected
		if x.Heard.After(r.heard) {
			r.heard = x.Heard
		}
		for class, n := range x.Failures {
			r.failures[class] += n
		}
	}
	for name, r := range registries {
		out.put(&connected, truth(r.connected), name)
		out.putTime(&lastSuccess, r.heard, name)
		for class, n := range r.failures {
			out.put(&failures, float64(n), name, string(class))
		}
	}
	if offset, known := health.ClockOffset(all); known {
		out.put(&clockOffset, offset.Seconds())
	}
}

// nameOf returns the address of a registry, without a password that it may have, or its kind.
func nameOf(x *health.Session) string {
	u, err := url.Parse(x.URL)
	if err != nil || x.URL == "" {
		return valid(x.Registry)
	}
	u.User = nil
	return valid(u.String())
}

// peers adds the numbers of peers.
func (out sink) peers(all []Peer) {
	counts := map[peer.State]float64{peer.Up: 0, peer.Down: 0, peer.Unknown: 0}
	paths := map[peer.PathKind]float64{}
	for _, kind := range peer.PathKinds() {
		paths[kind] = 0
	}
	relayed := 0.0
	for i := range all {
		counts[all[i].State]++
		paths[all[i].Path]++
		relayed += truth(all[i].Path.IsRelayed())
	}
	for kind, n := range paths {
		out.put(&peersByPath, n, string(kind))
	}
	for state, n := range counts {
		out.put(&peers, n, string(state))
	}
	out.put(&peersRelayed, relayed)
}

// valid makes a text the value of a label: they are UTF-8.
func valid(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

// peer adds the metrics of a peer.
func (out sink) peer(p *Peer, n probes) {
	name := valid(p.Name)
	out.put(&peerUp, truth(p.State == peer.Up), name)
	out.put(&peerInfo, 1, name, p.Key.String(), valid(p.NodeID))
	out.put(&peerReceived, float64(p.ReceiveBytes), name)
	out.put(&peerSent, float64(p.TransmitBytes), name)
	out.put(&peerProbes, n.answered, name, "answered")
	out.put(&peerProbes, n.lost, name, "lost")
	out.putTime(&peerHandshake, p.LastHandshake, name)
	if p.RTT > 0 {
		out.put(&peerRTT, p.RTT.Seconds(), name)
	}
}
