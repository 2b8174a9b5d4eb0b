package load

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
)

// TestDefaultsOfFleets has defaults in a package of machines. Each holds, or the error says why it
// does not. What the machine stores has the same settings.
func TestDefaultsOfFleets(t *testing.T) {
	const fleet = `package fleet

import "github.com/spanmesh/span/machine"

machines: [string]: machine.#Machine & {
	machine: network: kubespan: enabled: bool | *true
	cluster: {id: "` + testID + `", secret: "` + testSecret + `", discovery: enabled: true}
}
machines: web1: _
machines: [string]: machine: network: `
	networks := func(c *schema.Config) any { return len(c.KubeSpan().Filters.Endpoints) }
	mtu := func(c *schema.Config) any { return int(c.KubeSpan().MTU) }
	for _, test := range []struct {
		text string
		of   func(*schema.Config) any
		want any
	}{
		{`kubespan: mtu: (int | *1400) | "auto"`, mtu, 1400},
		{`kubespan: mtu: "auto" | (*1400 | int)`, mtu, 1400},
		{"kubespan: mtu: #MTU | \"auto\"\n#MTU: int | *1400", mtu, 1400},
		{`kubespan: mtu: int | *1420`, mtu, 1420},
		{"kubespan: mtu: int | *1400\nmachines: web1: machine: network: kubespan: mtu: 1420", mtu, 1420},
		{`kubespan: *{mtu: 1390, enabled: true} | {...}`, mtu, 1390},
		{`*{kubespan: {mtu: 1390, enabled: true}} | {...}`, mtu, 1390},
		{`kubespan: filters: *{endpoints: ["10.0.0.0/8"]} | {...}`, networks, 1},
		{`kubespan: filters: {endpoints: ["10.0.0.0/8"]} | *{endpoints: ["10.1.0.0/16", "10.2.0.0/16"]}`, networks, 2},
		{`kubespan: mtu: int | *900`, nil, "fleet.cue:10:49: machine.network.kubespan.mtu: 900: is out of range"},
		{`kubespan: mtu: *"big" | int`, nil, `machine.network.kubespan.mtu: "big": does not fit`},
		{`kubespan: allowDownPeerBypass: *"yes" | bool`, nil, "is a string where a bool belongs"},
		{`kubespan: filters: endpoints: *[1] | [...]`, nil, "machine.network.kubespan.filters.endpoints: does not fit"},
		{`kubespan: mtu: *1390 | *1391 | int`, nil, "has defaults that compete, 1390 and 1391: keep one"},
		{"kubespan: mtu: *1390 | int\nmachines: web1: machine: network: kubespan: mtu: *1391 | int", nil, "fleet.cue:11:45: machine.network.kubespan.mtu: has defaults that compete, "},
		{`kubespan: filters: endpoints: *["10.0.0.0/8"] | *["10.1.0.0/16"] | [...]`, nil, "has defaults that compete, a list and a list"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "fleet.cue"), []byte(fleet+test.text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		loaded, err := Input{Sources: []schema.Source{{Name: dir}}, Expression: "machines.web1"}.Evaluate()
		if test.of == nil {
			if err == nil || !strings.Contains(err.Error(), test.want.(string)) {
				t.Errorf("%s: got %v, want %v", test.text, err, test.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if got := test.of(loaded.Config); got != test.want {
			t.Errorf("%s: got %v, want %v", test.text, got, test.want)
		}
		stored, err := Config(loaded.Source.Name, loaded.Source.Data)
		if err != nil || !reflect.DeepEqual(stored, loaded.Config) {
			t.Errorf("%s: the stored file has other settings (%v):\n%s", test.text, err, loaded.Source.Data)
		}
	}
}
