package reconciler

import (
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
)

func TestConfigWarnings(t *testing.T) {
	yes := true
	for _, c := range []struct {
		name     string
		relay    schema.Relay
		forwards bool
		want     []string
	}{
		{name: "nothing written", forwards: true},
		{name: "a relay without IP forwarding", relay: schema.Relay{Offer: true}},
		{name: "a relay that also forwards", relay: schema.Relay{Offer: true}, forwards: true, want: []string{"relay.offer"}},
		{name: "a relay that is to forward", relay: schema.Relay{Offer: true, Forwarding: schema.Forwarding{Offer: true}}, forwards: true},
		{name: "a config of an earlier version", relay: schema.Relay{Offer: true, Use: &yes}, forwards: true, want: []string{"relay.use", "relay.offer"}},
	} {
		config := &schema.Config{}
		k := config.KubeSpan()
		k.Enabled, k.Relay, k.NAT = true, c.relay, schema.NAT{STUN: true, PortMapping: true}
		var got []string
		for _, warning := range configWarnings(config, c.forwards) {
			setting, _, _ := strings.Cut(strings.TrimPrefix(warning, "machine.network.kubespan."), " ")
			got = append(got, setting)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
