package metrics_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/spanmesh/span/cmd/spanctl/internal/metrics"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
)

var update = flag.Bool("update", false, "write the table in docs/monitoring.md")

// at is when what is measured happened.
var at = time.Unix(1_700_000_000, 500_000_000)

// full returns a state in which every family has a metric.
func full() metrics.State {
	return metrics.State{
		Health: health.Report{State: health.Degraded, Ready: true, Conditions: []health.Condition{
			{Condition: condition.Condition{Code: condition.RepeatedRepairs, Subject: "link kubespan"}},
			{Condition: condition.Condition{Code: condition.RepeatedRepairs, Subject: "rule 1"}},
			{Condition: condition.Condition{Code: condition.ConfigAmbiguous, Level: condition.SeverityInfo}},
		}, Relays: []health.BlindRelay{{Name: "one", Registered: true, OverTCP: true}, {Name: "two"}}},
		Sessions: []health.Session{
			{Registry: "service", URL: "https://user:hunter2@one.example/", State: health.Connected, Heard: at, Skew: -2 * time.Minute, SkewAt: at,
				Failures: map[failure.Class]uint64{failure.Refused: 2}},
			{Registry: "service", URL: "https://two.example/", State: health.Failed, Failures: map[failure.Class]uint64{failure.Refused: 1}},
			{Registry: "service", URL: "https://two.example/", State: health.Failed, Failures: map[failure.Class]uint64{failure.Refused: 1, failure.Timeout: 3}},
			{Registry: "kubernetes", State: health.Connecting},
		},
		ConfigApplied: at,
		Peers: []metrics.Peer{
			{Key: mesh.Key{1}, Name: "db1", NodeID: "node-1", State: peer.Up, Path: peer.PathPunched, RTT: 11 * time.Millisecond, LastHandshake: at, ReceiveBytes: 7, TransmitBytes: 9},
			{Key: mesh.Key{2}, Name: "db2", State: peer.Up, Path: peer.PathBlindRelayTCP},
			{Key: mesh.Key{3}, Name: "db3", State: peer.Down, Path: peer.PathNone},
			{Key: mesh.Key{4}, Name: "bad\xff", State: peer.Unknown, Path: peer.PathNone},
			{Key: mesh.Key{5}, Name: mesh.Key{5}.String(), State: peer.Unknown, Path: peer.PathNone},
		},
	}
}

// scrape returns the metrics as text.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	if answer.Code != http.StatusOK {
		t.Fatalf("the answer is %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// counted returns metrics of a state in which everything has happened once.
func counted(s metrics.State) *metrics.Metrics {
	m := metrics.New(func() metrics.State { return s })
	m.Pass(time.Millisecond, nil)
	m.Pass(time.Millisecond, errors.New("refused"))
	m.Changed("peer", state.Create)
	m.Repaired("rule")
	m.Recorded("Repaired")
	m.Answered(mesh.Key{1}, 11*time.Millisecond)
	return m
}

// conditions is the line that counts the conditions of a code.
func conditions(code condition.Code, severity condition.Severity, n int) string {
	return fmt.Sprintf(`spanctl_condition{code="%s",severity="%s"} %d`, code, severity, n)
}

func TestStateIsCollected(t *testing.T) {
	got := scrape(t, counted(full()))
	key := func(n byte) string { return mesh.Key{n}.String() }
	for _, want := range []string{
		`spanctl_ready 1`,
		conditions(condition.RepeatedRepairs, condition.RepeatedRepairs.Definition().Severity, 2),
		conditions(condition.ConfigAmbiguous, condition.SeverityInfo, 1),
		conditions(condition.ConfigAmbiguous, condition.SeverityError, 0),
		`spanctl_peers{state="up"} 2`,
		`spanctl_peers{state="down"} 1`,
		`spanctl_peers{state="unknown"} 2`,
		`spanctl_peers_relayed 1`,
		`spanctl_registry_connected{registry="https://one.example/"} 1`,
		`spanctl_registry_connected{registry="https://two.example/"} 0`,
		`spanctl_registry_connected{registry="kubernetes"} 0`,
		`spanctl_registry_last_success_timestamp_seconds{registry="https://one.example/"} 1.7000000005e+09`,
		`spanctl_registry_failures_total{reason="connection_refused",registry="https://one.example/"} 2`,
		`spanctl_registry_failures_total{reason="connection_refused",registry="https://two.example/"} 2`,
		`spanctl_registry_failures_total{reason="timeout",registry="https://two.example/"} 3`,
		`spanctl_clock_offset_seconds -120`,
		`spanctl_config_last_applied_timestamp_seconds 1.7000000005e+09`,
		`spanctl_peer_up{peer="db1"} 1`,
		`spanctl_peer_info{node_id="node-1",peer="db1",public_key="` + key(1) + `"} 1`,
		`spanctl_peer_receive_bytes_total{peer="db1"} 7`,
		`spanctl_peer_transmit_bytes_total{peer="db1"} 9`,
		`spanctl_peer_rtt_seconds{peer="db1"} 0.011`,
		`spanctl_peer_last_handshake_timestamp_seconds{peer="db1"} 1.7000000005e+09`,
		`spanctl_peer_up{peer="db2"} 1`,
		`spanctl_peer_up{peer="db3"} 0`,
		`spanctl_peer_up{peer="` + key(5) + `"} 0`,
		"spanctl_peer_up{peer=\"bad\ufffd\"} 0",
		`spanctl_passes_total{result="ok"} 1`,
		`spanctl_passes_total{result="failed"} 1`,
		`spanctl_changes_total{action="create",kind="peer"} 1`,
		`spanctl_changes_total{action="delete",kind="route"} 0`,
		`spanctl_repairs_total{kind="rule"} 1`,
		`spanctl_repairs_total{kind="link"} 0`,
		`spanctl_events_total{reason="Repaired"} 1`,
		`spanctl_rtt_seconds_count 1`,
		`spanctl_pass_duration_seconds_count 2`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("there is no line %s", want)
		}
	}
	for _, never := range []string{`spanctl_peer_rtt_seconds{peer="db2"`, `hunter2`, `go_`, `process_`} {
		if strings.Contains(got, never) {
			t.Errorf("the metrics have %s", never)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// TestProbesAreAnsweredOrLost counts the echoes to a peer. One that has never answered may have a
// firewall that drops them, which is no loss.
func TestProbesAreAnsweredOrLost(t *testing.T) {
	s := full()
	m := metrics.New(func() metrics.State { return s })
	want := func(answered, lost int) {
		t.Helper()
		got := scrape(t, m)
		for _, line := range []string{
			fmt.Sprintf(`spanctl_peer_probes_total{peer="db1",result="answered"} %d`, answered),
			fmt.Sprintf(`spanctl_peer_probes_total{peer="db1",result="lost"} %d`, lost),
		} {
			if !strings.Contains(got, line+"\n") {
				t.Errorf("there is no line %s", line)
			}
		}
	}
	m.Probed(mesh.Key{1})
	m.Probed(mesh.Key{1})
	want(0, 0)
	m.Answered(mesh.Key{1}, 0)
	m.Probed(mesh.Key{1})
	want(1, 0)
	m.Probed(mesh.Key{1})
	m.Probed(mesh.Key{1})
	want(1, 2)
	// A peer that has left is forgotten.
	s.Peers = nil
	scrape(t, m)
	s.Peers = full().Peers
	want(0, 0)
}

func TestManyPeersHaveMetricsOfTheirOwnOnlyIfAsked(t *testing.T) {
	s := metrics.State{}
	for i := range 101 {
		s.Peers = append(s.Peers, metrics.Peer{Key: mesh.Key{byte(i + 1)}, Name: fmt.Sprintf("node-%d", i), State: peer.Up})
	}
	m := metrics.New(func() metrics.State { return s })
	if got := scrape(t, m); strings.Contains(got, "spanctl_peer_") || !strings.Contains(got, "spanctl_peers{state=\"up\"} 101\n") {
		t.Errorf("101 peers have metrics of their own:\n%s", got)
	}
	s.PerPeer = true
	if got := strings.Count(scrape(t, m), "\nspanctl_peer_up{"); got != 101 {
		t.Errorf("with perPeer %d peers have metrics of their own, want 101", got)
	}
	s.PerPeer, s.Peers = false, s.Peers[1:]
	if got := strings.Count(scrape(t, m), "\nspanctl_peer_up{"); got != 100 {
		t.Errorf("of 100 peers %d have metrics of their own", got)
	}
}

// TestPrometheusHasNoComplaint runs the checks of `promtool check metrics`.
func TestPrometheusHasNoComplaint(t *testing.T) {
	text := scrape(t, counted(full()))
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string]string{}, map[string]string{}
	for name, f := range families {
		got[name] = strings.ToLower(f.GetType().String()) + " " + f.GetHelp()
	}
	for _, f := range metrics.Families() {
		want[f.Name] = string(f.Kind) + " " + f.Help
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the families that are served are not those that are documented (-documented +served):\n%s", diff)
	}
}

// TestDocumentHasAllMetrics compares the table in docs/monitoring.md with the families.
func TestDocumentHasAllMetrics(t *testing.T) {
	const path = "../../../../docs/monitoring.md"
	const begin, end = "<!-- Written by: go test ./cmd/spanctl/internal/metrics -update -->\n\n", "\n<!-- The end of the table. -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := bytes.Cut(text, []byte(begin))
	_, after, ended := bytes.Cut(rest, []byte(end))
	if !found || !ended {
		t.Fatalf("%s has no place for the table", path)
	}
	want := bytes.Join([][]byte{before, []byte(begin), []byte(metrics.Table()), []byte(end), after}, nil)
	switch {
	case bytes.Equal(text, want):
	case !*update:
		t.Fatalf("%s is not current: run go test ./cmd/spanctl/internal/metrics -update", path)
	default:
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDashboardAndAlertsAreCurrent looks for what deploy/monitoring names: metrics and labels that
// there are, and descriptions of conditions.
func TestDashboardAndAlertsAreCurrent(t *testing.T) {
	known := map[string]bool{}
	for _, f := range metrics.Families() {
		known[f.Name] = true
		if f.Kind == metrics.Histogram {
			known[f.Name+"_bucket"] = true
		}
	}
	headings, err := os.ReadFile("../../../../docs/conditions.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for line := range strings.Lines(string(headings)) {
		if heading, is := strings.CutPrefix(line, "## "); is {
			anchors[strings.ToLower(strings.TrimSpace(heading))] = true
		}
	}
	name := regexp.MustCompile(`\bspanctl_[a-z_]+`)
	anchor := regexp.MustCompile(`conditions\.md#([a-z]+)`)
	used := map[string]bool{}
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		text, err := os.ReadFile("../../../../deploy/monitoring/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range name.FindAllString(string(text), -1) {
			used[strings.TrimSuffix(n, "_bucket")] = true
			if !known[n] {
				t.Errorf("%s names %s, which is no metric", file, n)
			}
		}
		for _, a := range anchor.FindAllStringSubmatch(string(text), -1) {
			if !anchors[a[1]] {
				t.Errorf("%s names %s, which docs/conditions.md does not have", file, a[0])
			}
		}
	}
	if len(used) < 18 {
		t.Errorf("only %d metrics are used", len(used))
	}
}

// TestEchoesOfPeersThatHaveLeftAreForgotten has nobody collect the metrics, while peers come and go.
func TestEchoesOfPeersThatHaveLeftAreForgotten(t *testing.T) {
	stays := mesh.Key{1}
	m := metrics.New(func() metrics.State {
		return metrics.State{Peers: []metrics.Peer{{Key: stays, Name: "db1", State: peer.Up}}}
	})
	for n := range 100_000 {
		m.Probed(mesh.Key{2, byte(n >> 16), byte(n >> 8), byte(n)})
		m.Probed(stays)
		m.Answered(stays, time.Millisecond)
	}
	if n := m.Probes(); n > 1024 {
		t.Errorf("the echoes of %d peers are counted", n)
	}
	if text := scrape(t, m); !strings.Contains(text, `spanctl_peer_probes_total{peer="db1",result="answered"} 100000`) {
		t.Errorf("the peer that stays has\n%s", text)
	}
}
