package patch_test

import (
	"fmt"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/patch"
)

// A patch in YAML for a config in CUE. The config keeps its format and its comments.
func Example() {
	base := schema.Source{Name: "machine.cue", Data: []byte(`// web1
machine: network: kubespan: {
	enabled: true
	mtu:     1400 // for the provider's tunnel
}
`)}
	patched, err := patch.Apply(base, schema.Source{Name: "site.yaml", Data: []byte("machine: {network: {kubespan: {mtu: 1380, enabled: null}}}")})
	if err != nil {
		panic(err)
	}
	fmt.Print(string(patched.Data))
	// Output:
	// // web1
	// machine: network: kubespan: {
	// 	mtu: 1380 // for the provider's tunnel
	// }
}
