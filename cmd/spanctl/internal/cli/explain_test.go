package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema/load"
)

// explained runs `spanctl explain`.
func explained(t *testing.T, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if got := Main(append([]string{"explain"}, args...), strings.NewReader(""), &out, &errs); got != status {
		t.Errorf("explain %v: status %d, want %d\n%s", args, got, status, errs.String())
	}
	return out.String(), errs.String()
}

func TestExplainShowsASetting(t *testing.T) {
	out, _ := explained(t, 0, "machine.network.kubespan.mtu")
	for _, want := range []string{"SETTING: machine.network.kubespan.mtu <int or string>", "MTU of the WireGuard link, in bytes.",
		`Bounds:   >=1280 & <=65455 | "auto"`, "Default:  1420", "Change:   in place, without a restart", "Since:    "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	_, example, _ := strings.Cut(out, "Example:  ")
	example, _, _ = strings.Cut(example, "\n")
	if config, err := load.Fragment("example.cue", []byte(example+"\n")); err != nil || config.KubeSpan().MTU == 1420 {
		t.Errorf("the example %q cannot be copied: %v", example, err)
	}
}

func TestExplainListsASection(t *testing.T) {
	out, _ := explained(t, 0, "cluster.discovery")
	if !strings.Contains(out, "\n  enabled <bool>       Publish this machine and look for the others.\n") ||
		!strings.Contains(out, "\n  registries <struct>  ") || strings.Contains(out, "apiServerPort") {
		t.Errorf("got\n%s", out)
	}
	out, _ = explained(t, 0, "cluster.discovery", "--recursive")
	for _, want := range []string{"\n    kubernetes <struct>", "\n      apiServerPort <int>", "\n        publicKey <string>"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, _ = explained(t, 0)
	for _, want := range []string{"machine <struct>", "cluster <struct>", "kubespanpeerstatuses", "RoutesShadowed", "KubeSpanEndpointsConfig"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestExplainNamesFieldsOfTalosByPath checks that a listed field is where the Talos document has it.
func TestExplainNamesFieldsOfTalosByPath(t *testing.T) {
	for document, want := range map[string]string{
		"KubeSpanConfig": "\n  filters.endpoints <Talos field> ",
		"v1alpha1":       "\n  cluster.discovery.enabled <Talos field> ",
	} {
		if out, _ := explained(t, 0, document); !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestExplainSaysWhatIsWrong(t *testing.T) {
	for args, want := range map[string]string{
		"machine.network.kubespan.mtuu": "did you mean:\n  machine.network.kubespan.mtu",
		"mtu -o xml":                    `--output is "xml": want text, yaml, json`,
	} {
		out, err := explained(t, 1, strings.Fields(args)...)
		if out != "" || !strings.Contains(err, want) {
			t.Errorf("%s printed %q, %q, want %q", args, out, err, want)
		}
	}
}

func TestExplainInJSONAndYAML(t *testing.T) {
	type document struct {
		Kind, Name, Type, Description string
		Setting                       struct{ Default, Bounds, Example, Since string }
		Condition                     struct{ Severity, Remedy string }
		Fields                        []document
	}
	read := func(args ...string) (d document) {
		t.Helper()
		out, _ := explained(t, 0, append(args, "-o", "json")...)
		if err := json.Unmarshal([]byte(out), &d); err != nil {
			t.Fatal(err)
		}
		var same document
		out, _ = explained(t, 0, append(args, "-o", "yaml")...)
		if err := yaml.Unmarshal([]byte(out), &same); err != nil || same.Name != d.Name || same.Setting != d.Setting || len(same.Fields) != len(d.Fields) {
			t.Errorf("YAML has %+v, %v, JSON %+v", same, err, d)
		}
		return d
	}
	if d := read("mtu"); d.Kind != "setting" || d.Setting.Default != "1420" || d.Setting.Example == "" || d.Setting.Since == "" {
		t.Errorf("got %+v", d)
	}
	if d := read("RoutesShadowed"); d.Condition.Severity != "error" || d.Condition.Remedy == "" {
		t.Errorf("got %+v", d)
	}
	if d := read("cluster.discovery"); len(d.Fields) != 2 || len(d.Fields[0].Fields)+len(d.Fields[1].Fields) != 0 {
		t.Errorf("got %+v", d)
	}
	if d := read("cluster.discovery", "-r"); len(d.Fields) != 2 || len(d.Fields[0].Fields)+len(d.Fields[1].Fields) != 3 {
		t.Errorf("got %+v", d)
	}
}

func TestExplainCompletesPaths(t *testing.T) {
	var out bytes.Buffer
	if status := Main([]string{"__complete", "explain", "machine.network.kubespan.rela"}, strings.NewReader(""), &out, &bytes.Buffer{}); status != 0 {
		t.Fatalf("status %d", status)
	}
	want := "machine.network.kubespan.relay\tRelaying of traffic between peers that cannot reach each other.\nmachine.network.kubespan.relay.\n:6\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
