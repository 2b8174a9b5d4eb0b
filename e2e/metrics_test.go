package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/e2e/internal/harness"
)

const (
	// prometheusAt is where Prometheus listens, in the namespace of a machine.
	prometheusAt = "127.0.0.1:9090"
	// scrapePause is the time between two looks at Prometheus, which scrapes once a second.
	scrapePause = 500 * time.Millisecond
)

// TestPrometheusScrapesAMesh has a Prometheus at one machine that reads all of them through the mesh.
// The dashboard's queries have results, and the alerts are pending when what they are about is so.
func TestPrometheusScrapesAMesh(t *testing.T) {
	t.Parallel()
	harness.SkipInGuest(t, "the guest has no Prometheus")
	for _, program := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(program); err != nil {
			harness.Unavailable(t, program+" is missing: install Debian's package prometheus")
		}
	}
	m := harness.NewMesh(t, 3)
	m.Config = strings.Replace(m.Config, "machine: network:", "machine: metrics: listen: \"mesh:9851\"\nmachine: network:", 1)
	for _, machine := range m.Machines {
		machine.Files.WriteConfig(m.Config)
	}
	m.Start()
	m.AwaitUp()
	p := startPrometheus(t, m)

	t.Run("each machine is scraped through the mesh", func(t *testing.T) {
		p.await(t, `count(up == 1) == 3`)
		p.await(t, `count(spanctl_ready == 1) == 3`)
		p.await(t, `count(spanctl_peer_up == 1) == 6`)
		p.await(t, `count(spanctl_registry_connected == 1) == 3`)
		p.await(t, `count(abs(spanctl_clock_offset_seconds) < 30) == 3`)
		p.await(t, `count(spanctl_peer_probes_total{result="answered"} > 0) == 6`)
	})
	t.Run("a file for node_exporter", func(t *testing.T) {
		file := filepath.Join(m.Machines[0].Dir, "spanctl.prom")
		m.Machines[0].CLI.Run("metrics", "--write", file)
		written, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = written.Close() }()
		if info, err := written.Stat(); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("the file is %+v, %v; want mode 0644", info, err)
		}
		check := exec.CommandContext(harness.Context(t), "promtool", "check", "metrics")
		check.Stdin = written
		if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		harness.WantText(t, "the file", string(text), "\nspanctl_ready 1\n", "\nspanctl_peers{state=\"up\"} 2\n", `spanctl_peer_up{peer="node-2"} 1`)
		var identity struct {
			PrivateKey string `yaml:"privateKey"`
		}
		stored, err := os.ReadFile(filepath.Join(m.Machines[0].StateDir(), "kubespan-identity.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(stored, &identity); err != nil || identity.PrivateKey == "" {
			t.Fatalf("the private key cannot be read: %v", err)
		}
		harness.WantNoText(t, "the file", string(text), m.Value("secret"), m.Value("id"), identity.PrivateKey)
	})
	t.Run("a rule that another program deletes is a repair", func(t *testing.T) {
		m.Machines[1].Exec.Nodecmd("delete-rules", "")
		p.await(t, `spanctl_repairs_total{kind="rule"} > 0`)
		p.await(t, `spanctl_events_total{reason="Repaired"} > 0`)
	})
	t.Run("a registry that is away and a peer that is gone raise alerts", func(t *testing.T) {
		m.Server.Kill()
		m.Machines[2].Agent.Kill()
		m.Machines[2].Net.SetLink(false)
		p.await(t, `count(ALERTS{alertname="SpanctlDiscoveryLost",alertstate="pending"}) >= 2`)
		p.await(t, `count(ALERTS{alertname="SpanctlPeerDown",peer="node-3",alertstate="pending"}) == 2`)
		p.await(t, `sum(spanctl_registry_failures_total) > 0`)
	})
	t.Run("the dashboard has data of the last minutes", func(t *testing.T) {
		queries := dashboardQueries(t)
		if len(queries) < 25 {
			t.Fatalf("there are %d queries", len(queries))
		}
		for _, q := range queries {
			p.awaitBy(t, q, p.drawn)
		}
	})
	t.Run("the agent has samples of its peers", func(t *testing.T) { awaitSamples(t, m.Machines[0]) })
	t.Run("the alerts are valid", func(t *testing.T) {
		for _, expr := range alertExpressions(t) {
			p.query(t, expr)
		}
	})
}

// awaitSamples waits until the samples of a machine show that node-2 was up and that node-3 went down.
func awaitSamples(t *testing.T, at *harness.Machine) {
	t.Helper()
	ctx, wasUp := harness.Context(t), map[string]bool{}
	for {
		var last []*agentpb.Sample
		answer, err := at.API.Client().GetSamples(ctx, connect.NewRequest(&agentpb.GetSamplesRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		if step := answer.Msg.GetStep().AsDuration(); step != 30*time.Second {
			t.Fatalf("a step has %v", step)
		}
		for _, p := range answer.Msg.GetPeers() {
			for _, s := range p.GetSamples() {
				if s.GetState() == "up" && s.GetRttSeconds() > 0 && s.Loss != nil && s.GetReceivedBytes() > 0 && s.GetTransmittedBytes() > 0 {
					wasUp[p.GetName()] = true
				}
			}
			last = append(last, p.GetSamples()[len(p.GetSamples())-1])
		}
		if len(last) == 2 && wasUp["node-2"] && last[0].GetState() == "up" && last[1].GetState() == "down" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the last samples are %v", last)
		case <-time.After(scrapePause):
		}
	}
}

// prometheus is a Prometheus that runs on a machine.
type prometheus struct{ at *harness.Machine }

// startPrometheus starts a Prometheus on the first machine, with the alerts.
func startPrometheus(t *testing.T, m *harness.Mesh) prometheus {
	t.Helper()
	at := m.Machines[0]
	var targets []string
	for _, machine := range m.Machines {
		targets = append(targets, fmt.Sprintf("'[%s]:9851'", machine.API.MeshAddress()))
	}
	config := at.Files.Write("prometheus.yml", `
global: {scrape_interval: 5s, scrape_timeout: 5s, evaluation_interval: 1s}
rule_files: ['`+filepath.Join(harness.Root(t), "deploy/monitoring/alerts.yaml")+`']
scrape_configs:
  - job_name: spanctl
    static_configs:
      - targets: [`+strings.Join(targets, ", ")+`]
`)
	// It ends with the lab.
	process := harness.StartProcess(t, at.Command(context.WithoutCancel(t.Context()), "prometheus", "--config.file", config, "--storage.tsdb.path", filepath.Join(at.Dir, "prometheus"),
		"--web.listen-address", prometheusAt))
	process.AwaitOutput("Server is ready to receive web requests")
	return prometheus{at}
}

// query returns the present results of a query, as JSON.
func (p prometheus) query(t *testing.T, query string) []json.RawMessage {
	t.Helper()
	return p.ask(t, "query", url.Values{"query": {query}})
}

// drawn returns the results of a query over the time of the test, as a dashboard draws them.
func (p prometheus) drawn(t *testing.T, query string) []json.RawMessage {
	t.Helper()
	second := func(at time.Time) []string { return []string{strconv.FormatInt(at.Unix(), 10)} }
	return p.ask(t, "query_range", url.Values{"query": {query}, "step": {"1"}, "start": second(time.Now().Add(-15 * time.Minute)), "end": second(time.Now())})
}

func (p prometheus) ask(t *testing.T, how string, values url.Values) []json.RawMessage {
	t.Helper()
	answer := p.at.Exec.Get("http://" + prometheusAt + "/api/v1/" + how + "?" + values.Encode())
	var body struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.Unmarshal([]byte(answer.Body), &body); err != nil || body.Status != "success" {
		t.Fatalf("%s is answered with %d %s, %v", values.Get("query"), answer.Status, answer.Body, err)
	}
	return body.Data.Result
}

// await waits until a query has a result.
func (p prometheus) await(t *testing.T, query string) {
	t.Helper()
	p.awaitBy(t, query, p.query)
}

func (p prometheus) awaitBy(t *testing.T, query string, ask func(*testing.T, string) []json.RawMessage) {
	t.Helper()
	ctx := harness.Context(t)
	for len(ask(t, query)) == 0 {
		select {
		case <-ctx.Done():
			t.Fatalf("%s never had a result; up is %s", query, p.query(t, "up"))
		case <-time.After(scrapePause):
		}
	}
}

// dashboardQueries returns the queries of the dashboard, as Grafana asks them.
func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(monitoringFile(t, "dashboard.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries = append(queries, strings.NewReplacer("$job", ".*", "$instance", ".*", "$__rate_interval", "1m").Replace(target.Expr))
		}
	}
	return queries
}

// alertExpressions returns the expressions of the alerts.
func alertExpressions(t *testing.T) (expressions []string) {
	t.Helper()
	var alerts struct {
		Groups []struct {
			Rules []struct{ Expr string }
		}
	}
	if err := yaml.Unmarshal(monitoringFile(t, "alerts.yaml"), &alerts); err != nil {
		t.Fatal(err)
	}
	for _, group := range alerts.Groups {
		for _, rule := range group.Rules {
			expressions = append(expressions, rule.Expr)
		}
	}
	return expressions
}

func monitoringFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy/monitoring", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
