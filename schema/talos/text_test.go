package talos_test

import (
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
	"github.com/spanmesh/span/schema/talos"
)

// TestTextsThatAreNoYAML gives the import and the loader texts that the YAML parser refuses without
// saying where. Both refuse them, at the same place.
func TestTextsThatAreNoYAML(t *testing.T) {
	for text, want := range map[string]string{
		"machine:\n  network: *nothing\n":                         "m.yaml:2:12: is an alias without an anchor before it",
		"machine: {}\n---\nx: 1\ny: [1, *nothing, *other]\n":      "m.yaml:4:8: is an alias without an anchor before it",
		"# *nothing\nx: '*nothing'\ny: *nothing\nz: &nothing 1\n": "m.yaml:3:4: is an alias without an anchor before it",
		"x:\n- {a: 1,\n   b: *nothing\n  }\n":                     "m.yaml:3:7: is an alias without an anchor before it",
		"machine: {}\ncluster: {id: \"a\xff\"}\n":                 "m.yaml:2:17: has a byte that is not UTF-8",
		"x: é\n\u00e9: \xc3\n":                                    "m.yaml:2:5: has a byte that is not UTF-8",
		"machine: {}\nx: \a\n":                                    "m.yaml:2:4: has the character U+0007",
		"\xff\xfem\x00:\x00 \x001\x00\n\x00":                      "m.yaml:1:1: is UTF-16; want UTF-8",
		"\xfe\xff\x00m\x00:\x00 \x001\x00\n":                      "m.yaml:1:1: is UTF-16; want UTF-8",
	} {
		_, err := talos.Import(schema.Source{Name: "m.yaml", Data: []byte(text)}, talos.Options{Name: "m.cue"})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: the import's error is %v, want %s", text, err, want)
		}
		_, err = load.Config("m.yaml", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: the loader's error is %v, want %s", text, err, want)
		}
	}
	// What the parser takes stays so.
	for _, text := range []string{"machine: {network: {kubespan: {enabled: false}}} # \ufeffé\U0001f600\n", "\ufeffmachine: &m {network: {kubespan: {enabled: false}}}\ncluster: {}\n"} {
		if _, err := talos.Import(schema.Source{Name: "m.yaml", Data: []byte(text)}, talos.Options{Name: "m.cue"}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if _, err := load.Config("m.yaml", []byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestTagsAndNumbers has scalars of which CUE's decoder makes what CUE cannot read, or true.
func TestTagsAndNumbers(t *testing.T) {
	for setting, want := range map[string]string{
		"enabled: !!bool yes":               "m.yaml:1:41: is not what its tag says",
		"enabled: !!bool x":                 "m.yaml:1:",
		"enabled: !!null x":                 "m.yaml:1:",
		"mtu: !!int x":                      "m.yaml:1:",
		"mtu: .inf":                         "does not fit; want a whole number",
		"mtu: -.inf":                        "want a whole number",
		"mtu: .nan":                         "does not fit; want a whole number",
		"mtu: 99999999999999999999":         "is out of range; want a whole number",
		"mtu: !!float 1":                    "is out of range; want a whole number",
		"mtu: !!float 0x100":                "want a whole number",
		"mtu: 1e300":                        "want a whole number",
		"mtu: 1400.0":                       "",
		"mtu: !!float 1400":                 "",
		"interfaceName: !!str 1400":         "",
		"mtu: 1.4e3, enabled: !!bool false": "",
	} {
		text := "machine: {network: {kubespan: {" + setting + "}}}\n"
		if !strings.Contains(setting, "enabled") {
			text = strings.Replace(text, "}}}", ", enabled: false}}}", 1)
		}
		_, err := load.Config("m.yaml", []byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "m.yaml:1:")) {
			t.Errorf("%s: the error is %v, want %q", setting, err, want)
		}
	}
}
