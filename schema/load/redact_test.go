package load_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/compare"
	"github.com/spanmesh/span/schema/internal/field"
	"github.com/spanmesh/span/schema/load"
)

// TestSecretFieldsHaveTypeSecret checks that machine.cue and the Go types agree on what is secret.
func TestSecretFieldsHaveTypeSecret(t *testing.T) {
	var want []string
	for path, f := range field.All() {
		if f.Secret {
			want = append(want, path)
		}
	}
	var got []string
	config := &schema.Config{}
	config.Cluster.Discovery.Registries.Static.Peers = make([]schema.StaticPeer, 1)
	for path := range config.Secrets() {
		got = append(got, field.Parse(path))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(want, got) {
		t.Errorf("@secret is at %q, fields of type Secret are %q", want, got)
	}
}

// around are the parts of a config around each field with @secret, per format. In them, SECRET is
// the place of a value and LABEL that of the field's name.
var around = map[string]map[string]string{
	"cluster.secret": {
		"cue":  "cluster: {id: \"x\"\n\tLABEL: SECRET\n}\n",
		"yaml": "cluster:\n  id: x\n  LABEL: SECRET\n",
		"json": `{"cluster": {"id": "x", "LABEL": SECRET}}`,
	},
	"cluster.discovery.registries.static.peers.[].presharedKey": {
		"cue":  "cluster: discovery: registries: static: peers: [{name: \"phone\", LABEL: SECRET, allowedIPs: [\"x\"]}]\n",
		"yaml": "cluster:\n  discovery:\n    registries:\n      static:\n        peers:\n          - name: phone\n            LABEL: SECRET\n            allowedIPs: [x]\n",
		"json": `{"cluster": {"discovery": {"registries": {"static": {"peers": [{"name": "phone", "LABEL": SECRET, "allowedIPs": ["x"]}]}}}}}`,
	},
}

// values are values with a secret, per format. The names of files and variables with a secret, as in
// {file: "/path"}, are not secret and not among them. QUOTED is the secret as a
// string, BARE and AGAIN are the secret as it is.
var values = map[string][]string{
	"cue": {
		"QUOTED", "BARE", "[QUOTED]", "{vault: QUOTED}", "{QUOTED: 1}",
		"QUOTED + 1", "QUOTED & \"another secret\"", "\"another secret\" & QUOTED", "\"\"\"\n\tBARE\n\t\"\"\"", "\"\\(QUOTED)\"", "'BARE'",
		"QUOTED AGAIN", "QUOTED: QUOTED", "QUOTED // BARE", "1 // BARE", "\"BARE", "BARE\"", "#\"BARE\"#", "#BARE", "_|_ // BARE", "QUOTED.x", "QUOTED[0]", "BARE.x", "{[QUOTED]: 1}",
		"{if QUOTED {x: 1}}", "[for x in QUOTED {x}]", "len(QUOTED) + QUOTED", "strings.ToUpper(QUOTED)", "-QUOTED", "=~QUOTED", "string & QUOTED | 1", "*QUOTED | \"x\"", "QUOTED @x(BARE)", "let", "QUOTED,,",
	},
	"yaml": {
		"QUOTED", "BARE", "[QUOTED]", "{vault: BARE}", "{QUOTED: 1}", "{BARE}", "BARE: BARE", "|\n    BARE", ">-\n              BARE", "|\n              BARE\n              AGAIN",
		"!!int QUOTED", "!!float BARE", "!!binary BARE", "!x BARE", "&BARE x", "*BARE", "QUOTED # BARE", "1 # BARE", "\"BARE", "'BARE", "QUOTED AGAIN", "[BARE", "{BARE", "BARE]", "\n\tBARE", "\n- BARE",
		"? BARE", "%BARE", "@BARE", "`BARE`", "'BARE'", "BARE\n              AGAIN", "\"BARE\n              AGAIN\"", "null # BARE", "!!map BARE", "<<: BARE",
	},
	"json": {
		"QUOTED", "BARE", "[QUOTED]", `{"vault": QUOTED}`, "{QUOTED: 1}", "QUOTED AGAIN", "QUOTED,", "\"BARE", "{QUOTED}", "1 QUOTED", "QUOTED: 1", "QUOTED, \"LABEL\": QUOTED", "'BARE'", "// BARE",
	},
}

// wholes are whole files with a secret at another place than its field.
var wholes = map[string][]string{
	"cue": {
		"cluster: QUOTED", "cluster: secrt: QUOTED", "cluster: secret: QUOTED\ncluster: secret: \"another\"", "clster: secret: QUOTED", "machine: secret: QUOTED", "secret: QUOTED", "cluster: LABEL: x: QUOTED",
		"cluster: {secret: QUOTED, id: 1}", "cluster: {id: 1, secret: QUOTED}", "_s: QUOTED\ncluster: secret: _s, machine: network: kubespan: mtu: _s",
		"cluster: secret: QUOTED\nmachine: network: kubespan: interfaceName: cluster.secret", "let s = QUOTED\ncluster: secret: s + 1\nmachine: network: kubespan: mtu: s", "#S: QUOTED\ncluster: secret: #S & 1",
		"_s: QUOTED, cluster: id: 1", "x: {machine: {}, cluster: secret: QUOTED, y: 1}", "machines: a: {machine: {}, cluster: secret: QUOTED}", "cluster: secret: \"x\\(cluster.other)\"\ncluster: other: QUOTED",
		"cluster: discovery: registries: static: peers: QUOTED", "cluster: discovery: registries: static: peers: [QUOTED]", "cluster: discovery: registries: static: peers: [{name: \"a\", psk: QUOTED}]",
		"cluster: discovery: registries: static: QUOTED", "cluster secret QUOTED", "cluster: {\n\tsecret: QUOTED\n", "cluster: secret: strings.Repeat(QUOTED, \"x\")", "QUOTED", "[QUOTED]",
		"import \"strings\"\ncluster: {secret: strings.ToUpper(QUOTED) & 1, id: 2}", "cluster: {for x in [QUOTED] {secrets: x}}",
		"cluster: secret: \"\"\"\n\tBARE\n\tAGAIN\n\t\"\"\" + 1", "cluster: {secret: QUOTED\n id 1 }", "cluster: [string]: QUOTED\ncluster: id: 2", "cluster: id: \"x\", cluster: secret: BARE",
	},
	"yaml": {
		"cluster: QUOTED", "cluster: BARE", "cluster:\n  secret:BARE", "cluster:\n  secrt: BARE", "cluster:\n  secret: BARE\n  secret: another", "cluster: {secret: BARE, id: 1}", "cluster: {id: 1, secret: QUOTED}", "clster: {secret: BARE}", "secret: BARE", "BARE",
		"- BARE", "cluster:\n  secret: BARE\n---\ncluster:\n  secret: QUOTED1", "cluster:\n  secret: BARE\n---\ncluster:\n  secret: another", "cluster: {secret: &a BARE, id: *a, discovery: {enabled: *a}}", "cluster:\n  secret: BARE\n id: 1",
		"cluster:\n  secret: |\n    BARE\n  id: 1", "cluster:\n  secret: \"BARE\n  id: 1", "cluster:\n\tsecret: BARE", "x: {machine: {}, cluster: {secret: BARE}}", "cluster:\n  discovery:\n    registries:\n      static:\n        peers: BARE",
		"cluster:\n  discovery:\n    registries:\n      static:\n        peers:\n        - BARE", "machine: {network: {kubespan: {mtu: 1}}} # BARE", "cluster: {secret: BARE} # BARE", "cluster:\n  secret: {{ BARE }}", "{{ BARE }}", "cluster: {secret: BARE", "cluster: [secret: BARE]",
	},
	"json": {
		`{"cluster": QUOTED}`, `{"cluster": {"secrt": QUOTED}}`, `{"cluster": {"secret": QUOTED, "secret": "another"}}`, `{"clster": {"secret": QUOTED}}`, `{"cluster": {"secret": QUOTED, "id": 1}}`, "QUOTED", "[QUOTED]",
		`{"cluster": {"secret": QUOTED}`, `{"cluster": {"secret": QUOTED "id": 1}}`, `{"cluster": {"secret": QUOTED,}}`, `{"cluster": {"discovery": {"registries": {"static": {"peers": [QUOTED]}}}}}`, `{"secret": QUOTED}`, `{"cluster": {"secret": BARE}}`,
	},
}

// names are whole files with a secret as the name of a field. Names are hidden from a length on.
var names = map[string][]string{
	"cue":  {"cluster: QUOTED: 1", "QUOTED: 1", "x: QUOTED: machine: {}", "BARE"},
	"yaml": {"cluster:\n  ? BARE\n  : 1", "cluster:\n  BARE: 1", "BARE: BARE", "cluster: {BARE}"},
	"json": {`{"cluster": {QUOTED: 1}}`, `{QUOTED: 1}`},
}

// configs returns all texts of a format with a secret in them.
func configs(extension, secret string) (texts []string) {
	quoted, _ := json.Marshal(secret)
	fill := func(text, label string) string {
		return strings.NewReplacer("QUOTED", string(quoted), "BARE", secret, "AGAIN", secret, "LABEL", label).Replace(text)
	}
	for _, path := range slices.Sorted(maps.Keys(around)) {
		label := path[strings.LastIndex(path, ".")+1:]
		for _, name := range []string{label, label + "s"} {
			for _, value := range values[extension] {
				texts = append(texts, fill(strings.ReplaceAll(around[path][extension], "SECRET", value), name))
			}
		}
	}
	for _, text := range wholes[extension] {
		texts = append(texts, fill(text, "secret"))
	}
	if len(secret) >= 32 {
		for _, text := range names[extension] {
			texts = append(texts, fill(text, ""))
		}
	}
	return texts
}

// printed returns everything that spanctl could print of a config.
func printed(name, text string) string {
	var b strings.Builder
	config, err := load.Config(name, []byte(text))
	var problems schema.Problems
	if errors.As(err, &problems) {
		fmt.Fprintf(&b, "%v\n%s\n%+v\n%q\n", problems, problems.Explain(), []schema.Problem(problems), problems)
	}
	if err == nil {
		encoded, _ := json.Marshal(config)
		settings, _ := compare.Configs(&schema.Config{}, config)
		fmt.Fprintf(&b, "%s\n%+v\n%v\n", encoded, config, settings)
	}
	fmt.Fprintln(&b, err)
	_, err = load.Data(schema.Source{Name: name, Data: []byte(text)})
	fmt.Fprintln(&b, err)
	return b.String()
}

const control = "Kf3v9Zq1LwXy7Tn2Bd5Rj8Hg4Mc6Ps0Ua"

// check fails if the secret in a text is printed. What is also printed with another secret in its
// place is part of a message.
func check(t *testing.T, extension, secret string, index int) {
	t.Helper()
	text := configs(extension, secret)[index]
	shown := printed("machine."+extension, text)
	at := strings.Index(shown, secret)
	if at < 0 || strings.Contains(printed("machine."+extension, configs(extension, control)[index]), secret) {
		return
	}
	t.Errorf("the secret %q is printed of:\n%s\nin:\n…%s", secret, text, shown[max(at-120, 0):min(at+len(secret)+40, len(shown))])
}

// TestSecretsAreNeverPrinted places secrets of several forms at every field with @secret and beside
// it, in every format, with every kind of fault.
func TestSecretsAreNeverPrinted(t *testing.T) {
	for path, f := range field.All() {
		if f.Secret && around[path] == nil {
			t.Errorf("%s has @secret, but is not tested here", path)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, extension := range []string{"cue", "yaml", "json"} {
		t.Run(extension, func(t *testing.T) {
			for n, secret := range append(secrets(random), "12345678901234") {
				// All texts with the first secret, and every fifth with each other. The fuzz test
				// takes any text with any secret.
				step := 1
				if n > 0 {
					step = 5
				}
				for i := n % step; i < len(configs(extension, secret)); i += step {
					check(t, extension, secret, i)
				}
			}
		})
	}
}

// secrets returns random secrets: a key, with and without its padding, a short text and a long one.
func secrets(random *rand.Rand) (list []string) {
	for _, form := range []struct {
		length   int
		alphabet string
	}{
		{43, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"},
		{9, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"},
		{30, "abcdefghijklmnopqrstuvwxyzäöü !?#%&*.,;=()ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
	} {
		runes, secret := []rune(form.alphabet), make([]rune, form.length)
		for i := range secret {
			secret[i] = runes[random.IntN(len(runes))]
		}
		list = append(list, strings.TrimSpace(string(secret)))
	}
	return append(list, list[0]+"=") // a key
}

// TestSecretsOfPackagesAreNeverPrinted places secrets in a CUE package of two files, of which one
// imports the schema.
func TestSecretsOfPackagesAreNeverPrinted(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("package fleet\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("base.cue", "import \"github.com/spanmesh/span/machine\"\nmachines: [string]: machine.#Machine\n")
	for i, text := range configs("cue", control) {
		if i%4 != 0 {
			continue // each takes as long as ten files
		}
		write("secret.cue", text)
		write("other.cue", fmt.Sprintf("machines: web%d: {cluster: secret: %q, machine: network: kubespan: mtu: 1}\n", i, control))
		for _, expression := range []string{"", fmt.Sprintf("machines.web%d", i)} {
			_, _, err := load.Input{Sources: []schema.Source{{Name: dir}}, Expression: expression}.Resolve()
			var problems schema.Problems
			shown := fmt.Sprint(err)
			if errors.As(err, &problems) {
				shown += problems.Explain()
			}
			if strings.Contains(shown, control) {
				t.Errorf("with -e %q the secret is printed of:\n%s\nin:\n%s", expression, text, shown)
			}
		}
	}
}

func FuzzSecretsAreNeverPrinted(f *testing.F) {
	f.Add("hunter2hunter2", 1)
	f.Add("dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc=", 100)
	f.Fuzz(func(t *testing.T, secret string, index int) {
		special := strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'\\`{}[]()#:,", r) })
		if special || len(secret) < 12 || len(secret) > 100 {
			return
		}
		for _, extension := range []string{"cue", "yaml", "json"} {
			check(t, extension, secret, int(uint(index)%uint(len(configs(extension, secret)))))
		}
	})
}

// TestPasswordsOfURLsAreNeverPrinted has URLs that are valid, and others.
func TestPasswordsOfURLsAreNeverPrinted(t *testing.T) {
	const password = "hunter22"
	for _, url := range []string{"https://me:hunter22@disc.example.com/", "ftp://me:hunter22@disc.example.com/", "https://me:hunter22@[::1/",
		"https://me:hunter22@disc.example.com:http/", "https://me:hunter22/x@disc.example.com/", "https://:hunter22@"} {
		for _, text := range []string{
			`endpoint: "` + url + `"`,
			`endpoints: ["https://other.example/", "` + url + `"]`,
			`endpoint: "` + url + `" & "https://other.example/"`,
			`endpoint: ["` + url + `"]`,
			`protocol: "` + url + `"`,
			`none: "` + url + `"`,
		} {
			for name, config := range map[string]string{
				"machine.cue":  `cluster: discovery: registries: service: {` + text + `}`,
				"machine.yaml": "cluster: {discovery: {registries: {service: {" + text + "}}}}\n",
				"machine.json": `{"cluster": {"discovery": {"registries": {"service": {` + strings.Replace(`"`+text, ":", `":`, 1) + `}}}}}`,
			} {
				if shown := printed(name, config); strings.Contains(shown, password) {
					t.Errorf("the password is printed of %s:\n%s", config, shown)
				}
			}
		}
	}
}
