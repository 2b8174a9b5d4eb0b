package talos

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// rows returns the cells of a table in docs/talos.md that is between two comments.
func rows(t *testing.T, name string) (table [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/talos.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "<!-- "+name+": tested by go test ./schema/talos -->\n")
	inner, _, found := strings.Cut(rest, "<!-- end of "+name+" -->")
	if !found {
		t.Fatalf("docs/talos.md has no table of %s", name)
	}
	for _, line := range strings.Split(strings.TrimSpace(inner), "\n")[2:] {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		table = append(table, cells)
	}
	return table
}

// leaves are the settings of a complete Talos config, in YAML.
var leaves = map[string]string{
	"machine.network.kubespan.enabled": "true",
	"cluster.id":                       "q3mT0hXc5yVnR8aLw2Ks9DfJ7uZb1PgE6oNiQxYtMv4=",
	"cluster.secret":                   "Zk8vQ2rT7yWn4cXpB6mL1sHdJ9uFgE3aKoNiVxYtRw0=",
	"cluster.discovery.enabled":        "true",
	// The default of Talos, without the warning about Kubernetes.
	"cluster.discovery.registries.kubernetes.disabled": "true",
}

// replacing is what a document takes the place of.
var replacing = map[string]map[string]string{
	"KubeSpanConfig":          {"machine.network.kubespan.enabled": "KubeSpanConfig.enabled: true"},
	"KubeSpanEndpointsConfig": {},
	"DiscoveryServiceConfig":  {"cluster.discovery.enabled": "DiscoveryServiceConfig.name: ours", "cluster.discovery.registries.kubernetes.disabled": ""},
	"DiscoveryIdentityConfig": {"cluster.id": "DiscoveryIdentityConfig.clusterID: x", "cluster.secret": "DiscoveryIdentityConfig.clusterSecret: " + leaves["cluster.secret"]},
}

// written returns a complete Talos config with a setting.
func written(path, value string) string {
	all := maps.Clone(leaves)
	kind, _, _ := strings.Cut(path, ".")
	documents := map[string]string{}
	for place, setting := range replacing[kind] {
		delete(all, place)
		if name, text, found := strings.Cut(setting, ": "); found {
			documents[name] = text
		}
	}
	if replacing[kind] == nil {
		all[path] = value
	} else {
		documents[path] = value
	}
	var b strings.Builder
	tree(&b, "", all)
	if len(documents) > 0 {
		fmt.Fprintf(&b, "\n---\napiVersion: v1alpha1\nkind: %s\n", kind)
		for _, name := range slices.Sorted(maps.Keys(documents)) {
			fmt.Fprintf(&b, "%s: %s\n", strings.TrimPrefix(name, kind+"."), documents[name])
		}
	}
	return b.String()
}

// tree writes settings by their paths as YAML.
func tree(b *strings.Builder, indent string, all map[string]string) {
	below := map[string]map[string]string{}
	for path, value := range all {
		name, rest, _ := strings.Cut(path, ".")
		if below[name] == nil {
			below[name] = map[string]string{}
		}
		below[name][rest] = value
	}
	for _, name := range slices.Sorted(maps.Keys(below)) {
		if value, leaf := below[name][""]; leaf {
			fmt.Fprintf(b, "%s%s: %s\n", indent, name, value)
			continue
		}
		fmt.Fprintf(b, "%s%s:\n", indent, name)
		tree(b, indent+"  ", below[name])
	}
}

// valueAt returns a setting of a config as JSON.
func valueAt(t *testing.T, config *schema.Config, path string) string {
	t.Helper()
	for _, renamed := range [][2]string{{"KubeSpanConfig.", "machine.network.kubespan."}, {"KubeSpanEndpointsConfig.", "machine.network.kubespan."},
		{"DiscoveryServiceConfig.", "cluster.discovery.registries.service."}, {"DiscoveryIdentityConfig.clusterID", "cluster.id"}} {
		if rest, found := strings.CutPrefix(path, renamed[0]); found {
			path = renamed[1] + rest
		}
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	var at any
	if err := json.Unmarshal(text, &at); err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(path, ".") {
		inner, _ := at.(map[string]any)
		at = inner[name]
	}
	text, err = json.Marshal(at)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocumentOfSettings does what each row of the table says: with the setting in a config of
// spanctl, and with the import.
func TestDocumentOfSettings(t *testing.T) {
	table := rows(t, "settings")
	if len(table) < 30 {
		t.Fatalf("only %d rows", len(table))
	}
	for _, row := range table {
		if len(row) != 3 {
			t.Errorf("%d cells: %q", len(row), row)
			continue
		}
		path, value, _ := strings.Cut(strings.Trim(row[0], "`"), ": ")
		text := written(path, value)
		pasted, err := load.Config("machine.yaml", []byte(text))
		got := "refused"
		if err == nil {
			got = "`" + valueAt(t, pasted, path) + "`"
		}
		if want, _, _ := strings.Cut(row[1], ", which is"); got != want {
			t.Errorf("%s in a config of spanctl: %s, want %s: %v", row[0], got, want, err)
		}
		checkImport(t, row, path, text)
	}
}

// checkImport compares an import with the last cell of a row.
func checkImport(t *testing.T, row []string, path, text string) {
	t.Helper()
	imported, err := Import(schema.Source{Name: "worker.yaml", Data: []byte(text)}, Options{Name: "machine.cue"})
	if err != nil {
		if row[2] != "refused" || !strings.HasPrefix(err.Error(), "worker.yaml:") {
			t.Errorf("%s imported: %v, want %s", row[0], err, row[2])
		}
		return
	}
	config, err := load.Config("machine.cue", imported.Data)
	if err != nil {
		t.Fatal(err)
	}
	want, warning, warns := strings.Cut(row[2], ", warning: ")
	if got := "`" + valueAt(t, config, path) + "`"; got != want {
		t.Errorf("%s imported: %s, want %s", row[0], got, want)
	}
	if warnings := strings.Join(imported.Warnings, "\n"); warns != (warnings != "") || !strings.Contains(warnings, warning) {
		t.Errorf("%s imported: the warnings are %q, want %q", row[0], warnings, warning)
	}
}

// TestDocumentOfFiles imports the files that the document says are refused.
func TestDocumentOfFiles(t *testing.T) {
	for _, row := range rows(t, "files") {
		if len(row) != 2 {
			t.Errorf("%d cells: %q", len(row), row)
			continue
		}
		_, err := Import(schema.Source{Name: "worker.yaml", Data: []byte(strings.Trim(row[0], "`"))}, Options{Name: "machine.cue"})
		if err == nil || !strings.Contains(err.Error(), row[1]) || !strings.HasPrefix(err.Error(), "worker.yaml:1:") {
			t.Errorf("%s: %v, want %s", row[0], err, row[1])
		}
	}
}
