package load_test

import (
	"fmt"
	"testing"

	"github.com/spanmesh/span/schema/load"
)

// TestBooleansOfYAML reads the words that Talos takes for true and false.
func TestBooleansOfYAML(t *testing.T) {
	for word, want := range map[string]bool{
		"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true, "true": true, `"yes"`: true, "'on'": true,
		"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false, "false": false, `"no"`: false,
	} {
		text := fmt.Sprintf("machine: &m {network: {kubespan: {enabled: false, relay: {offer: %s}, interfaceName: \"yes\"}}}\n", word)
		config, err := load.Fragment("machine.yaml", []byte(text))
		if err != nil || config.KubeSpan().Relay.Offer != want || config.KubeSpan().InterfaceName != "yes" {
			t.Errorf("%s: %v", word, err)
		}
		part, err := load.Fragment("part.yaml", []byte("network: {kubespan: {allowDownPeerBypass: "+word+"}}\n"))
		if err != nil || part.KubeSpan().AllowDownPeerBypass != want {
			t.Errorf("a part with %s: %v", word, err)
		}
	}
	for _, name := range []string{"machine.cue", "machine.json"} {
		if _, err := load.Fragment(name, []byte(`{"machine": {"network": {"kubespan": {"allowDownPeerBypass": "yes"}}}}`)); err == nil {
			t.Errorf("%s takes a string for a boolean", name)
		}
	}
}
