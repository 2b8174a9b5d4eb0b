package ui

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/cmd/spanctl/internal/support"
	"github.com/spanmesh/span/schema"
)

// What a secret looks like.
const (
	secretA = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	secretB = "/HfHI/7N84e6GrWBJ3J280z3mLaRJiDcSvj/A+y/4AU="
)

func TestSecretsAreWhatTheAgentHides(t *testing.T) {
	view := func(text string) (v any) {
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	got := secretsOf(view(`{"cluster":{"id":"x","secret":"(hidden)"},"peers":[{"key":"(hidden)"},{"key":"(hidden)"},{"file":"(hidden)"}]}`),
		view(`{"cluster":{"id":"x","secret":"b"},"peers":[{"key":"a"},{"key":"b"},{"file":{"file":"/etc/key"}}]}`))
	if !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the secrets are %q", got)
	}
}

func TestTextIsShownWithoutSecrets(t *testing.T) {
	for _, test := range []struct {
		name, text, want string
		secrets          []string
		unsafe           bool
	}{
		{name: "each is hidden", secrets: []string{secretA, secretB}, text: "// mine\nsecret: \"" + secretA + "\"\nkey: \"" + secretB + "\" // " + secretA + "\n",
			want: "// mine\nsecret: \"(hidden)\"\nkey: \"(hidden 2)\" // (hidden)\n"},
		{name: "one is a part of the other", secrets: []string{"short-secret", "a-short-secret-and-more"}, text: "a: a-short-secret-and-more\nb: short-secret\n", want: "a: (hidden)\nb: (hidden 2)\n"},
		{name: "none", text: "enabled: true\n", want: "enabled: true\n"},
		{name: "one in another form", secrets: []string{secretA}, text: "secret: \"AAECAwQF\" + \"BgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"", unsafe: true},
		{name: "one that is written twice, once in parts", secrets: []string{secretA}, text: "// " + strings.TrimRight(secretA, "=") + "\nsecret: " + secretA, unsafe: true},
		{name: "an old one in a comment", secrets: []string{secretA}, text: "// before: " + secretB + "\nsecret: " + secretA, unsafe: true},
		{name: "a password in a URL", text: "endpoint: https://user:hunter2hunter2@disc.example.com/", unsafe: true},
		{name: "the mark itself", secrets: []string{secretA}, text: "// (hidden)\nsecret: " + secretA, unsafe: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, safe := hide(test.text, test.secrets, support.Facts{})
			if safe == test.unsafe || safe && got != test.want {
				t.Fatalf("safe is %t, and the text\n%s\nwant\n%s", safe, got, test.want)
			}
			if !safe {
				return
			}
			for _, secret := range test.secrets {
				if strings.Contains(got, secret) {
					t.Errorf("the text has %s", secret)
				}
			}
		})
	}
}

// shownText is a text as it is shown, with a secret and the key of a peer.
const shownText = `cluster: {
	secret: "(hidden)"
	discovery: registries: static: peers: [{name: "a", presharedKey: "(hidden 2)"}]
}
machine: network: kubespan: enabled: true
`

// TestMarksThatComeBack edits what is shown, and has the secrets put back.
func TestMarksThatComeBack(t *testing.T) {
	const asYAML = "cluster:\n  secret: (hidden)\n  discovery: {registries: {static: {peers: [{name: ä, presharedKey: '(hidden 2)'}]}}}\n"
	edit := func(from, to string) string { return strings.Replace(shownText, from, to, 1) }
	for _, c := range []struct{ name, file, text, want string }{
		{"as it was", "machine.cue", shownText, ""},
		{"another setting", "machine.cue", edit("enabled: true", "{enabled: true, mtu: 1400}"), ""},
		{"a part of the schema", "machine.cue", "import \"github.com/spanmesh/span/machine\"\nmachine.#Machine & {\n" + shownText + "}\n", ""},
		{"YAML", "page.yaml", asYAML, ""},
		{"JSON", "page.json", `{"cluster": {"secret": "(hidden)", "id": "x"}}`, ""},
		{"a secret that was written", "machine.cue", edit("(hidden)", secretB), ""},
		{"a mark that stands for nothing", "machine.cue", edit("(hidden)", "(hidden 3)"), "write it in place"},
		{"one of another field", "machine.cue", edit("(hidden)", "(hidden 2)"), "the whole value"},
		{"in a setting", "machine.cue", edit("enabled: true", `interfaceName: "(hidden)"`), "the whole value"},
		{"in a comment", "machine.cue", shownText + "// (hidden)\n", "the whole value"},
		{"in another text", "machine.cue", edit(`"(hidden)"`, `"x(hidden)"`), "the whole value"},
		{"as the name of a field", "machine.cue", shownText + `x: "(hidden)": 1`, "the whole value"},
		{"in a call", "machine.cue", "import \"strings\"\n" + edit("enabled: true", `interfaceName: strings.Replace("(hidden)", "=", "_", -1)`), "imports what is not the schema"},
		{"a reference", "machine.cue", edit("enabled: true", `interfaceName: cluster.secret`), "is computed"},
		{"a part of a text", "machine.cue", edit("enabled: true", `interfaceName: "\(cluster.secret)"`), "is computed"},
		{"a check of it", "machine.cue", shownText + "cluster: secret: =~\"^A\"\n", "is computed"},
		{"a check of all", "machine.cue", shownText + "cluster: [string]: =~\"^A\"\n", "is computed"},
		{"a choice by it", "machine.cue", shownText + "if cluster.secret < \"M\" {machine: metrics: perPeer: true}\n", "is computed"},
		{"a list of it", "machine.cue", shownText + "x: [for c in y {c}]\n", "is computed"},
		{"an alias", "machine.cue", edit("cluster:", "X=cluster:"), "is computed"},
		{"an attribute", "machine.cue", edit(`"(hidden)"`, `"(hidden)" @tag(x)`), "is computed"},
		{"a sum", "machine.cue", edit(`"(hidden)"`, `"(hidden)" + ""`), "is computed"},
		{"an anchor", "page.yaml", "cluster: {secret: &a (hidden), id: *a}", "an anchor or an alias"},
		{"a tag", "page.yaml", "cluster: {secret: !!int (hidden)}", "not written as it is"},
		{"escapes in YAML", "page.yaml", "cluster: {secret: \"\\x28hidden)\", id: (hidden)}", "not written as it is"},
		{"lines that are counted otherwise", "page.yaml", "a: x\rcluster: {secret: \"(hidden)\"}\n# a\nb: \"(hidden)\"\n", "data"},
		{"a text that is too large", "page.yaml", shownText + strings.Repeat("#", 256<<10), "larger than 256 KiB"},
		{"no CUE", "page.cue", shownText + "{", "not valid CUE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			back, err := unhide(schema.Source{Name: c.file, Data: []byte(c.text)}, schema.Source{Name: "machine.cue", Data: []byte(shownText)}, []string{secretA, secretB})
			want := strings.NewReplacer("(hidden)", secretA, "(hidden 2)", secretB).Replace(c.text)
			if c.want == "" && (err != nil || back != want) {
				t.Errorf("it comes back as %v\n%s", err, back)
			}
			if c.want != "" && (err == nil || back != "" || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("it comes back as %v, want %q\n%s", err, c.want, back)
			}
			if err != nil && (strings.Contains(err.Error(), secretA) || strings.Contains(err.Error(), secretB)) {
				t.Error("the error has a secret")
			}
		})
	}
}
