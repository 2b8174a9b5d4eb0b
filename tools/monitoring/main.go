// Monitoring writes the dashboard for Grafana into a directory. `make dashboard` runs it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: monitoring DIRECTORY")
		os.Exit(2)
	}
	if err := write(filepath.Join(os.Args[1], "dashboard.json")); err != nil {
		fmt.Fprintln(os.Stderr, "monitoring:", err)
		os.Exit(1)
	}
}

func write(path string) error {
	built, err := mesh().Build()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(built, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// source is the Prometheus that the user chooses.
var source = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("$datasource")}

// The heights of panels, and the widths of a third, a half and a whole row of 24.
const (
	low, high          = 4, 8
	sixth, third, half = 4, 8, 12
	whole              = 24
)

// query is an expression, and what its lines are called.
type query struct{ expr, legend string }

// one is the target of a query whose last value is shown.
func (q query) one() *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId("A").Datasource(source).Expr(q.expr).LegendFormat(q.legend).Instant()
}

// number is a panel with a number.
func number(title, unit string, q query) *stat.PanelBuilder {
	return stat.NewPanelBuilder().Title(title).Datasource(source).Unit(unit).Height(low).Span(sixth).WithTarget(q.one())
}

// lines is a panel with lines over time.
func lines(title, unit string, width uint32, queries ...query) *timeseries.PanelBuilder {
	panel := timeseries.NewPanelBuilder().Title(title).Datasource(source).Unit(unit).Height(high).Span(width).Min(0)
	for i, q := range queries {
		panel.WithTarget(prometheus.NewDataqueryBuilder().RefId(string(rune('A' + i))).
			Datasource(source).Expr(q.expr).LegendFormat(q.legend).Range())
	}
	return panel
}

// rows is a panel with a table of the labels of what is there now.
func rows(title, description string, q query) *table.PanelBuilder {
	return table.NewPanelBuilder().Title(title).Description(description).Datasource(source).Height(high).Span(whole).
		WithTarget(q.one().Format(prometheus.PromQueryFormatTable)).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
			"excludeByName": map[string]any{"Time": true, "__name__": true, "job": true}}})
}

// mesh is the dashboard of the machines of a mesh.
func mesh() *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder("spanctl mesh").Uid("spanctl-mesh").Tags([]string{"spanctl"}).
		Description("The machines of a mesh of spanctl. Made by `make dashboard`.").
		Readonly().Refresh("30s").Time("now-6h", "now").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Link(dashboard.NewDashboardLinkBuilder("Conditions").Type(dashboard.DashboardLinkTypeLink).
			Url("https://github.com/spanmesh/span/blob/main/docs/conditions.md").TargetBlank(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Prometheus").Type("prometheus")).
		WithVariable(choice("job", "Job", "label_values(spanctl_build_info, job)")).
		WithVariable(choice("instance", "Machine", `label_values(spanctl_build_info{job=~"$job"}, instance)`)).
		WithRow(dashboard.NewRowBuilder("Machines")).
		WithPanel(number("Machines", "short", query{`count(spanctl_build_info{` + chosen + `})`, ""})).
		WithPanel(number("Ready", "short", query{`sum(spanctl_ready{` + chosen + `})`, ""})).
		WithPanel(number("Errors", "short", query{`sum(spanctl_condition{` + chosen + `,severity="error"})`, ""})).
		WithPanel(number("Warnings", "short", query{`sum(spanctl_condition{` + chosen + `,severity="warning"})`, ""})).
		WithPanel(number("Peers down", "short", query{`sum(spanctl_peers{` + chosen + `,state="down"})`, ""})).
		WithPanel(number("Peers relayed", "short", query{`sum(spanctl_peers_relayed{` + chosen + `})`, ""})).
		WithPanel(rows("Conditions", "What is wrong now. `spanctl status` on the machine has cause and remedy.",
			query{`spanctl_condition{` + chosen + `} > 0`, ""})).
		WithPanel(lines("Conditions", "short", half, query{`sum by (instance, severity) (spanctl_condition{` + chosen + `})`, "{{instance}} {{severity}}"})).
		WithPanel(lines("Peers", "short", half, query{`sum by (state) (spanctl_peers{` + chosen + `})`, "{{state}}"})).
		WithRow(dashboard.NewRowBuilder("Peers")).
		WithPanel(lines("Round-trip time", "s", half,
			query{`histogram_quantile(0.5, sum by (le) (rate(spanctl_rtt_seconds_bucket{` + chosen + `}[$__rate_interval])))`, "median"},
			query{`histogram_quantile(0.99, sum by (le) (rate(spanctl_rtt_seconds_bucket{` + chosen + `}[$__rate_interval])))`, "99 %"})).
		WithPanel(lines("Round-trip time by peer", "s", half, query{`spanctl_peer_rtt_seconds{` + chosen + `}`, "{{instance}} to {{peer}}"})).
		WithPanel(lines("Received", "Bps", third, query{`rate(spanctl_peer_receive_bytes_total{` + chosen + `}[$__rate_interval])`, "{{instance}} from {{peer}}"})).
		WithPanel(lines("Sent", "Bps", third, query{`rate(spanctl_peer_transmit_bytes_total{` + chosen + `}[$__rate_interval])`, "{{instance}} to {{peer}}"})).
		WithPanel(lines("Echoes lost", "percentunit", third, query{
			`sum by (instance, peer) (increase(spanctl_peer_probes_total{` + chosen + `,result="lost"}[10m])) / ` +
				`(sum by (instance, peer) (increase(spanctl_peer_probes_total{` + chosen + `}[10m])) > 0)`, "{{instance}} to {{peer}}"})).
		WithPanel(lines("Time since the last handshake", "s", half,
			query{`time() - spanctl_peer_last_handshake_timestamp_seconds{` + chosen + `}`, "{{instance}} with {{peer}}"})).
		WithPanel(lines("Peers up", "short", half, query{`spanctl_peer_up{` + chosen + `}`, "{{instance}} to {{peer}}"})).
		WithRow(dashboard.NewRowBuilder("Discovery and clock")).
		WithPanel(lines("Connected to discovery", "short", third, query{`spanctl_registry_connected{` + chosen + `}`, "{{instance}} to {{registry}}"})).
		WithPanel(lines("Failures of discovery", "short", third, query{
			`sum by (instance, registry, reason) (increase(spanctl_registry_failures_total{` + chosen + `}[$__rate_interval]))`, "{{instance}} {{registry}} {{reason}}"})).
		WithPanel(lines("Clock", "s", third, query{`abs(spanctl_clock_offset_seconds{` + chosen + `})`, "{{instance}}"})).
		WithRow(dashboard.NewRowBuilder("Agent")).
		WithPanel(lines("Passes", "ops", third, query{`sum by (instance, result) (rate(spanctl_passes_total{` + chosen + `}[$__rate_interval]))`, "{{instance}} {{result}}"})).
		WithPanel(lines("Length of passes", "s", third, query{
			`histogram_quantile(0.99, sum by (instance, le) (rate(spanctl_pass_duration_seconds_bucket{` + chosen + `}[$__rate_interval])))`, "{{instance}} 99 %"})).
		WithPanel(lines("Changes", "short", third, query{`sum by (kind, action) (increase(spanctl_changes_total{` + chosen + `}[$__rate_interval]))`, "{{action}} {{kind}}"})).
		WithPanel(lines("Repairs", "short", third, query{`sum by (instance, kind) (increase(spanctl_repairs_total{` + chosen + `}[$__rate_interval]))`, "{{instance}} {{kind}}"})).
		WithPanel(lines("Events", "short", third, query{`sum by (reason) (increase(spanctl_events_total{` + chosen + `}[$__rate_interval]))`, "{{reason}}"})).
		WithPanel(lines("Age of the config", "s", third, query{`time() - spanctl_config_last_applied_timestamp_seconds{` + chosen + `}`, "{{instance}}"}))
}

// chosen selects the machines that the user chooses.
const chosen = `job=~"$job",instance=~"$instance"`

// choice is a variable with the values of a label, any number of which can be chosen.
func choice(name, label, values string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source).
		Query(dashboard.StringOrMap{String: cog.ToPtr(values)}).
		Multi(true).IncludeAll(true).AllValue(".*").Refresh(dashboard.VariableRefreshOnTimeRangeChanged)
}
