package patch

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// TestMerge applies each patch to the same config, in each format, and compares the settings.
func TestMerge(t *testing.T) {
	bases := map[string]string{
		"machine.cue":  "machine: network: kubespan: {enabled: true, mtu: 1400, advertisedNetworks: [\"10.0.0.0/8\"]}\n",
		"machine.yaml": "machine:\n  network:\n    kubespan:\n      enabled: true\n      mtu: 1400\n      advertisedNetworks: [10.0.0.0/8]\n",
		"machine.json": `{"machine": {"network": {"kubespan": {"enabled": true, "mtu": 1400, "advertisedNetworks": ["10.0.0.0/8"]}}}}`,
	}
	const head = `{"machine":{"network":{"kubespan":`
	for _, c := range []struct {
		name, file, patch, want string
	}{
		{"an empty list empties a list", "p.cue", `machine: network: kubespan: advertisedNetworks: []`, head + `{"advertisedNetworks":[],"enabled":true,"mtu":1400}}}}`},
		{"an empty list where there was none", "p.cue", `machine: network: kubespan: filters: endpoints: []`, head + `{"advertisedNetworks":["10.0.0.0/8"],"enabled":true,"filters":{"endpoints":[]},"mtu":1400}}}}`},
		{"an empty list in YAML", "p.yaml", "machine: {network: {kubespan: {advertisedNetworks: []}}}", head + `{"advertisedNetworks":[],"enabled":true,"mtu":1400}}}}`},
		{"an empty list below a struct that is replaced", "p.cue", `machine: network: kubespan: {"$patch": "replace", advertisedNetworks: []}`, head + `{"advertisedNetworks":[]}}}}`},
		{"a directive without quotes", "p.cue", `machine: network: kubespan: {$patch: replace, mtu: 1300}`, head + `{"mtu":1300}}}}`},
		{"a struct that is deleted, without quotes", "p.cue", `machine: network: {kubespan: {$patch: delete}, x: {"$patch": delete}}`, `{"machine":{"network":{}}}`},
		{"an empty list in a new element of a list", "p.cue", `cluster: discovery: registries: static: peers: [{name: "a", endpoints: []}]`,
			`{"cluster":{"discovery":{"registries":{"static":{"peers":[{"endpoints":[],"name":"a"}]}}}},"machine":{"network":{"kubespan":{"advertisedNetworks":["10.0.0.0/8"],"enabled":true,"mtu":1400}}}}`},
		{"an empty struct merges nothing", "p.cue", `machine: network: kubespan: {}`, head + `{"advertisedNetworks":["10.0.0.0/8"],"enabled":true,"mtu":1400}}}}`},
		{"an empty struct where there was none", "p.cue", `machine: network: kubespan: filters: {}`, head + `{"advertisedNetworks":["10.0.0.0/8"],"enabled":true,"filters":{},"mtu":1400}}}}`},
		{"null removes", "p.cue", `machine: network: kubespan: {mtu: null, advertisedNetworks: null}`, head + `{"enabled":true}}}}`},
		{"null in YAML removes", "p.yaml", "machine: {network: {kubespan: {mtu: , advertisedNetworks: ~}}}", head + `{"enabled":true}}}}`},
		{"null where there is nothing", "p.cue", `machine: network: kubespan: filters: endpoints: null`, head + `{"advertisedNetworks":["10.0.0.0/8"],"enabled":true,"filters":{},"mtu":1400}}}}`},
		{"false, zero and an empty text are values", "p.yaml", "machine: {network: {kubespan: {enabled: false, mtu: 0, interfaceName: ''}}}", head + `{"advertisedNetworks":["10.0.0.0/8"],"enabled":false,"interfaceName":"","mtu":0}}}}`},
		{"names in quotes", "p.cue", `"machine": "network": "kubespan": "mtu": 1300`, head + `{"advertisedNetworks":["10.0.0.0/8"],"enabled":true,"mtu":1300}}}}`},
		{"a list gets what it lacks", "p.cue", `machine: network: kubespan: advertisedNetworks: ["10.0.0.0/8", "192.0.2.0/24"]`, head + `{"advertisedNetworks":["10.0.0.0/8","192.0.2.0/24"],"enabled":true,"mtu":1400}}}}`},
		{"each document is a patch", "p.yaml", "machine: {network: {kubespan: {advertisedNetworks: [192.0.2.0/24]}}}\n---\nmachine: {network: {kubespan: {advertisedNetworks: [198.51.100.0/24], mtu: 1300}}}\n---\nmachine: {network: {kubespan: {mtu: null}}}\n",
			head + `{"advertisedNetworks":["10.0.0.0/8","192.0.2.0/24","198.51.100.0/24"],"enabled":true}}}}`},
		{"a JSON patch empties a list", "p.json", `[{"op": "replace", "path": "/machine/network/kubespan/advertisedNetworks", "value": []}]`, head + `{"advertisedNetworks":[],"enabled":true,"mtu":1400}}}}`},
	} {
		for name, base := range bases {
			t.Run(c.name+" in "+name, func(t *testing.T) {
				got, err := Apply(schema.Source{Name: name, Data: []byte(base)}, schema.Source{Name: c.file, Data: []byte(c.patch)})
				if err != nil {
					t.Fatal(err)
				}
				data, err := load.Data(got.Source)
				if err != nil {
					t.Fatal(err)
				}
				text, err := json.Marshal(data)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, string(text)); diff != "" {
					t.Errorf("(-want +got):\n%s\n%s", diff, got.Data)
				}
			})
		}
	}
}
