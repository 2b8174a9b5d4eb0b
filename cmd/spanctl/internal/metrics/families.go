package metrics

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// namespace is the prefix of all names. Those of a discovery server go on with discovery_.
const namespace = "spanctl"

// Kind is the type of a family.
type Kind string

// The kinds.
const (
	Gauge     Kind = "gauge"
	Counter   Kind = "counter"
	Histogram Kind = "histogram"
)

// Family is all metrics of a name.
type Family struct {
	// Name is the whole name.
	Name string
	Kind Kind
	Help string
	// Labels are the names of the labels.
	Labels []string
}

func family(kind Kind, name, help string, labels ...string) Family {
	return Family{Name: namespace + "_" + name, Kind: kind, Help: help, Labels: labels}
}

// opts returns the options of a counter.
func (f *Family) opts() prometheus.CounterOpts {
	return prometheus.CounterOpts{Name: f.Name, Help: f.Help}
}

func (f *Family) desc() *prometheus.Desc { return prometheus.NewDesc(f.Name, f.Help, f.Labels, nil) }

// The families that are collected from a State.
var (
	buildInfo     = family(Gauge, "build_info", "1; the labels say which spanctl the agent is.", "version", "commit")
	ready         = family(Gauge, "ready", "1 if the mesh carries traffic: a peer is up, if any should be, and no condition says otherwise; else 0.")
	conditions    = family(Gauge, "condition", "How many conditions with this code there are now. Those that are absent are 0.", "code", "severity")
	peers         = family(Gauge, "peers", "Peers by state: up, down, or unknown while an endpoint is on trial. A relayed peer is up.", "state")
	peersRelayed  = family(Gauge, "peers_relayed", "Peers whose traffic goes through a relay.")
	peersByPath   = family(Gauge, "peers_by_path", "Peers by how packets go to them: direct, punched, blind-relay, blind-relay-tcp, forwarding, or none.", "path")
	blindRelays   = family(Gauge, "blind_relays", "Blind relays that this machine has joined, by how it is registered with them: udp, tcp, or none.", "by")
	connected     = family(Gauge, "registry_connected", "1 if the agent is connected to the registry, such as a discovery service, else 0.", "registry")
	lastSuccess   = family(Gauge, "registry_last_success_timestamp_seconds", "When the registry last answered with success. It is absent if it never did.", "registry")
	failures      = family(Counter, "registry_failures_total", "Failures of the connection to the registry, by reason.", "registry", "reason")
	clockOffset   = family(Gauge, "clock_offset_seconds", "By how much this machine's clock is ahead of its registry's; below zero if it is behind. It is absent if no registry says its time.")
	configApplied = family(Gauge, "config_last_applied_timestamp_seconds", "When the agent put the config in force.")

	peerUp        = family(Gauge, "peer_up", "1 if the peer is up, directly or through a relay, else 0.", "peer")
	peerRTT       = family(Gauge, "peer_rtt_seconds", "Smoothed round-trip time to the peer through the tunnel. It is absent if the peer has answered no echo.", "peer")
	peerHandshake = family(Gauge, "peer_last_handshake_timestamp_seconds", "When WireGuard's last handshake with the peer ended. It is absent if there was none.", "peer")
	peerInfo      = family(Gauge, "peer_info", "1; the labels have the keys of the peer.", "peer", "public_key", "node_id")
	peerReceived  = family(Counter, "peer_receive_bytes_total", "Bytes that came from the peer, by WireGuard's counter. A new session does not set it back.", "peer")
	peerSent      = family(Counter, "peer_transmit_bytes_total", "Bytes that went to the peer, by WireGuard's counter. A new session does not set it back.", "peer")
	peerProbes    = family(Counter, "peer_probes_total", "Echoes to a peer that answers echoes: answered, or lost if there was no answer before the next.", "peer", "result")
)

// The families that are counted.
var (
	passes   = family(Counter, "passes_total", "Passes over the machine's network state, by result: ok or failed.", "result")
	changes  = family(Counter, "changes_total", "Changes that were made of the machine's network state.", "kind", "action")
	repairs  = family(Counter, "repairs_total", "Changes by other programs that were reverted.", "kind")
	events   = family(Counter, "events_total", "Events, as `spanctl get events` lists them, by reason.", "reason")
	rtts     = family(Histogram, "rtt_seconds", "Round-trip times of echoes to all peers through the tunnels.")
	duration = family(Histogram, "pass_duration_seconds", "How long passes took.")
)

// collected are the families that are collected from a State.
var collected = []*Family{&buildInfo, &ready, &conditions, &peers, &peersRelayed, &peersByPath, &blindRelays, &connected, &lastSuccess, &failures, &clockOffset, &configApplied,
	&peerUp, &peerRTT, &peerHandshake, &peerInfo, &peerReceived, &peerSent, &peerProbes}

// Families are all families, in the order of the documentation.
func Families() []*Family {
	return append(append([]*Family{}, collected...), &passes, &changes, &repairs, &events, &rtts, &duration)
}

// Table returns the families as a table in Markdown.
func Table() string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n")
	for _, f := range Families() {
		labels := make([]string, len(f.Labels))
		for i, l := range f.Labels {
			labels[i] = "`" + l + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Kind, strings.Join(labels, ", "), f.Help)
	}
	return b.String()
}
