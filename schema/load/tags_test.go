package load

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
)

// TestTags gives values to fields with @tag, and selects a file with @if.
func TestTags(t *testing.T) {
	dir := t.TempDir()
	const site = "site: string @tag(site)\nport: int @tag(port,type=int)\n" +
		"m: machine: network: kubespan: {enabled: false, interfaceName: \"wg-\\(site)\", listenPort: port}\n"
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.cue", "package fleet\n"+site)
	write("b.cue", "@if(prod)\n\npackage fleet\n\nm: machine: network: kubespan: mtu: 1300\n")
	one := schema.Source{Name: filepath.Join(t.TempDir(), "one.cue"), Data: []byte(site)}
	other := schema.Source{Name: "other.yaml", Data: []byte("m: {machine: {network: {kubespan: {mtu: 1300}}}}\n")}
	for _, c := range []struct {
		sources []schema.Source
		tags    string
		mtu     int
		problem string
	}{
		{[]schema.Source{{Name: dir}}, "site=one port=1000", 1420, ""},
		{[]schema.Source{{Name: dir}}, "site=one port=1000 prod", 1300, ""},
		{[]schema.Source{one}, "site=one port=1000", 1420, ""},
		{[]schema.Source{one, other}, "site=one port=1000", 1300, ""},
		{[]schema.Source{one}, "site=one port=1000 stie=hunter2hunter2", 0, "-t stie: no field has the attribute @tag(stie); want the name of a tag in the CUE files"},
		{[]schema.Source{one}, "site=one port=1000 prod", 0, "-t prod: no file begins with @if(prod)"},
		{[]schema.Source{other}, "site=one", 0, "-t site: no field has the attribute @tag(site)"},
		{[]schema.Source{one}, "site=one port=hunter2hunter2", 0, `invalid number for injection tag "port"`},
		{[]schema.Source{one}, "site=one port=99999", 0, "machine.network.kubespan.listenPort: 99999: is out of range"},
	} {
		loaded, err := Input{Sources: c.sources, Expression: "m", Tags: strings.Fields(c.tags)}.Evaluate()
		if c.problem != "" {
			if err == nil || !strings.Contains(err.Error(), c.problem) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: got %v, want %s", c.tags, err, c.problem)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.tags, err)
			continue
		}
		// What is stored needs no tags.
		stored, err := Config(loaded.Source.Name, loaded.Source.Data)
		if err != nil {
			t.Errorf("%s: stored: %v", c.tags, err)
			continue
		}
		if k := stored.KubeSpan(); k.InterfaceName != "wg-one" || k.ListenPort != 1000 || int(k.MTU) != c.mtu {
			t.Errorf("%s: got %+v", c.tags, k)
		}
		if text := string(loaded.Source.Data); !strings.Contains(text, ", m, -t site, -t port") || strings.Contains(text, "site=one") {
			t.Errorf("%s: the first line does not say what the file was made from:\n%s", c.tags, text)
		}
	}
}
