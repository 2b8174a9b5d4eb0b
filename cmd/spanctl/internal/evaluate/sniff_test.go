package evaluate

import (
	"testing"

	"github.com/spanmesh/span/schema"
)

func TestSniff(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]schema.Format{
		`{"machine": {}}`:                        schema.FormatJSON,
		"\ufeff{\"a\": 1}\n":                     schema.FormatJSON,
		`[{"op": "remove", "path": "/machine"}]`: schema.FormatJSON,
		`{"machine": {"network": `:               schema.FormatJSON,
		`[{"op": `:                               schema.FormatJSON,
		"machine:\n  network:\n    kubespan:\n      enabled: true\n": schema.FormatYAML,
		"# a comment\n---\nmachine: {network: {}}\n":                 schema.FormatYAML,
		"machine: {network: {kubespan: {mtu: 1380}}}":                schema.FormatYAML,
		"- a\n- b\n":                                   schema.FormatYAML,
		"# nothing but a comment\n":                    schema.FormatYAML,
		"machine:\n\tnetwork: {}\n":                    schema.FormatCUE,
		"machine:\n  network:\n   kubespan: 'x\n  a\n": schema.FormatYAML,
		"machine:\n  mtu: {{ .MTU }}\n":                schema.FormatYAML,
		"machine: network: kubespan: mtu: 1380":        schema.FormatCUE,
		"package fleet\n\nimport \"strings\"\n\nmachine: network: x: strings.ToUpper(\"a\")\n": schema.FormatCUE,
		"// a comment\nmachine: {\n\tnetwork: {}\n}\n":                                         schema.FormatCUE,
		"package fleet\nmachine: {\n":                                                          schema.FormatCUE,
		"machine: {\n\tnetwork: {\n":                                                           schema.FormatCUE,
		"machine: {\n  a: 1\n  b: 2\n}\n":                                                      schema.FormatCUE,
		"":                                                                                     schema.FormatCUE,
	} {
		if got := sniff([]byte(text)); got != want {
			t.Errorf("%q is taken for %v, want %v", text, got, want)
		}
	}
}
