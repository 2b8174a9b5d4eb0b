package load_test

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/generate"
	"github.com/spanmesh/span/schema/internal/encode"
	"github.com/spanmesh/span/schema/load"
)

// TestCutFiles cuts configs at every byte, as a full disk or a lost connection does: the examples,
// those of the documentation, those that spanctl writes, and those of other tests. What is left is
// refused, or has KubeSpan and the cluster as in the whole file. Of a file in the order in which
// spanctl writes, what is left is refused or the whole config.
func TestCutFiles(t *testing.T) {
	files := map[string][]byte{}
	for _, pattern := range []string{"../../examples/*/*.cue", "testdata/full.*", "testdata/guide.yaml", "testdata/seed/create.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("no files like %s: %v", pattern, err)
		}
		for _, path := range paths {
			files[path] = read(t, path)
		}
	}
	fromDocumentation(t, files)
	generated(t, files)
	whole := 0
	for path, data := range files {
		config, err := load.Config(filepath.Base(path), data)
		if err != nil {
			continue // a part of a config
		}
		whole++
		for _, ending := range []string{".cue", ".yaml", ".json"} {
			text := data
			if ending != filepath.Ext(path) {
				text = converted(t, path, data, ending)
			}
			t.Run(path+" in "+ending[1:], func(t *testing.T) {
				t.Parallel()
				cutEverywhere(t, "machine"+ending, text, config)
			})
		}
	}
	if whole < 12 {
		t.Errorf("only %d of %d files are whole configs", whole, len(files))
	}
}

var equate = []cmp.Option{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{}, schema.Secret{})}

// cutEverywhere cuts a config after every byte.
func cutEverywhere(t *testing.T, name string, text []byte, whole *schema.Config) {
	// JSON has an end of its own. Elsewhere, what comes after the switch of discovery can be lost.
	strict := schema.FormatOf(name) == schema.FormatJSON || bytes.HasSuffix(bytes.TrimRight(text, "}\n\t"), []byte("enabled: true"))
	for end := range text {
		got, err := load.Config(name, text[:end])
		if err != nil {
			if problems := (schema.Problems)(nil); !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("cut after byte %d: not a problem of the file: %v", end, err)
			}
			continue
		}
		if got.KubeSpan().Enabled != whole.KubeSpan().Enabled {
			t.Fatalf("cut after byte %d, KubeSpan is switched:\n%s", end, text[:end])
		}
		if got.KubeSpan().Enabled && (got.Cluster.ID != whole.Cluster.ID || got.Cluster.Secret != whole.Cluster.Secret || !got.Cluster.Discovery.Enabled) {
			t.Fatalf("cut after byte %d, it is another cluster:\n%s", end, text[:end])
		}
		if diff := cmp.Diff(whole, got, equate...); strict && whole.KubeSpan().Enabled && diff != "" {
			t.Fatalf("cut after byte %d, it is another config (-whole +cut):\n%s", end, diff)
		}
	}
}

// converted returns a config in another format.
func converted(t *testing.T, path string, data []byte, ending string) []byte {
	t.Helper()
	settings, err := load.Data(schema.Source{Name: path, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	text, err := encode.File("machine"+ending, settings)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// fromDocumentation adds the configs in the pages of the documentation.
func fromDocumentation(t *testing.T, files map[string][]byte) {
	t.Helper()
	block := regexp.MustCompile("(?ms)^```(cue|yaml|json)\n(.*?)^```$")
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, page := range append(pages, "../../README.md") {
		for i, match := range block.FindAllStringSubmatch(string(read(t, page)), -1) {
			files[page+strings.Repeat("+", i)+"."+match[1]] = []byte(match[2])
		}
	}
}

// generated adds the configs that spanctl writes.
func generated(t *testing.T, files map[string][]byte) {
	t.Helper()
	secrets, err := generate.NewSecrets(bytes.NewReader(make([]byte, 2*schema.KeyLength)))
	if err != nil {
		t.Fatal(err)
	}
	for _, ending := range []string{".cue", ".yaml", ".json"} {
		text, err := generate.Config("machine"+ending, generate.Blueprint{Secrets: secrets, KubeSpan: true, DiscoveryEndpoint: "https://discovery.example.com/"})
		if err != nil {
			t.Fatal(err)
		}
		files["generated"+ending] = text
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestCutWords has ends of files that may be the beginning of a longer value, and others.
func TestCutWords(t *testing.T) {
	const on = "machine: {network: {kubespan: {enabled: false}}}\n"
	for _, c := range []struct {
		name, end string
		cut       bool
	}{
		{"a.yaml", "cluster: {}", false},
		{"a.yaml", "cluster:\n  id: \"yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE=\"", false},
		{"a.yaml", "cluster:\n  discovery:\n    enabled: false", false},
		{"a.yaml", "# the e", false},
		{"a.yaml", "cluster:\n  id: yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE=", true},
		{"a.yaml", "cluster:\n  discovery:\n    registries:\n      service:\n        endpoint: https://discovery.exam", true},
		{"a.cue", "machine: network: kubespan: listenPort: 5182", true},
		{"a.cue", "machine: network: kubespan: listenPort: 51820\n", false},
		{"a.cue", "// the e", false},
	} {
		_, err := load.Config(c.name, []byte(on+c.end))
		if cut := err != nil && strings.Contains(err.Error(), "may be half-written; want a line break at its end"); cut != c.cut || err != nil != c.cut {
			t.Errorf("%s that ends in %q: %v", c.name, c.end, err)
		}
	}
}
