package load

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
)

// TestComputedValueInAFleet has values that CUE refuses to compute, in a machine that shares a pattern
// with others. Each fault is at the value of that machine, and says what CUE refused: a number in an
// expression is not the value.
func TestComputedValueInAFleet(t *testing.T) {
	for value, want := range map[string]string{
		"1/0":             "m.cue:8:46: machine.network.kubespan.mtu: failed arithmetic: division by zero",
		"[1][3]":          "m.cue:8:50: machine.network.kubespan.mtu: index out of range [3] with length 1",
		"[1300][-1]":      "m.cue:8:46: machine.network.kubespan.mtu: invalid index -1",
		"len(3)":          "m.cue:8:50: machine.network.kubespan.mtu: cannot use 3 (type int)",
		"1300 + \"x\"":    "m.cue:8:46: machine.network.kubespan.mtu: invalid operands",
		"_site.nope":      "m.cue:8:52: machine.network.kubespan.mtu: undefined field: nope",
		"machines.b.nope": "m.cue:8:57: machine.network.kubespan.mtu: undefined field: nope",
		"_site.maybe":     "m.cue:8:52: machine.network.kubespan.mtu: cannot reference optional field: maybe",
		"_nothing":        "m.cue:8:46: reference \"_nothing\" not found",
		"3":               "m.cue:8:46: machine.network.kubespan.mtu: 3: is out of range",
		"_site.mtu":       "m.cue:4:14: machine.network.kubespan.mtu: 4: is out of range",
	} {
		text := `package fleet

import "github.com/spanmesh/span/machine"
_site: {mtu: 4, maybe?: int}
machines: [string]: machine.#Machine & {machine: network: kubespan: enabled: true}
machines: [string]: cluster: {id: "x", secret: "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", discovery: enabled: true}
machines: b: _
machines: a: machine: network: kubespan: ` + "mtu:" + value + "\n"
		name := filepath.Join(t.TempDir(), "m.cue")
		_, err := Input{Sources: []schema.Source{{Name: name, Data: []byte(text)}}, Expression: "machines.a"}.Load()
		if err == nil || !strings.HasPrefix(strings.TrimPrefix(err.Error(), filepath.Dir(name)+"/"), want) {
			t.Errorf("%s: the error is %v, want %s", value, err, want)
		}
	}
}
