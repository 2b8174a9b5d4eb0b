package load_test

import (
	"errors"
	"fmt"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// A config in YAML, with the defaults of what it does not set.
func Example() {
	config, err := load.Config("machine.yaml", []byte("machine: {network: {kubespan: {enabled: false, mtu: 1380}}}"))
	if err != nil {
		panic(err)
	}
	fmt.Println(config.KubeSpan().MTU, config.KubeSpan().ListenPort)
	// Output: 1380 51820
}

// A config with a fault yields problems with their positions. The secret is not in them.
func ExampleConfig_problems() {
	_, err := load.Config("machine.cue", []byte(`
machine: network: kubespan: mtu: 900
cluster: secret: "hunter2"
`))
	var problems schema.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			fmt.Printf("line %d, column %d: %s: %s %s\n", p.Line, p.Column, p.Path, p.Value, p.Reason)
		}
		fmt.Println(problems[1].Text)
	}
	// Output:
	// line 2, column 29: machine.network.kubespan.mtu: 900 is out of range
	// line 3, column 10: cluster.secret: (hidden) is not base64
	// cluster: secret: "(hidden)"
}

// One machine of a fleet.
func ExampleInput() {
	config, err := load.Input{
		Sources: []schema.Source{{Name: "fleet.cue", Data: []byte(`
machines: [string]: machine: network: kubespan: {enabled: bool | *false, listenPort: int | *51820}
machines: web1: machine: network: kubespan: mtu: 1380
machines: web2: machine: network: kubespan: mtu: 1400
`)}},
		Expression: "machines.web1",
	}.Load()
	if err != nil {
		panic(err)
	}
	fmt.Println(config.KubeSpan().MTU)
	// Output: 1380
}
