package schema

import (
	"strings"
	"testing"
)

func TestSettingsWithoutOrWithAnotherEffect(t *testing.T) {
	yes, no := true, false
	servers := make([]STUNServer, MaxSTUNServers+1)
	for _, c := range []struct {
		name  string
		relay Relay
		nat   NAT
		want  string
	}{
		{name: "nothing written"},
		{name: "relay.use as in earlier versions", relay: Relay{Use: &yes}, want: "kubespan.relay.use is true, which also turns on relay.forwarding.use,"},
		{name: "both written", relay: Relay{Use: &yes, Forwarding: Forwarding{Use: true}}},
		{name: "no relay", relay: Relay{Use: &no}},
		{name: "a relay that uses none", relay: Relay{Use: &no, Offer: true}},
		{name: "servers that are not asked", nat: NAT{Servers: servers[:1]}, want: "kubespan.nat.servers has no effect, since nat.stun is false:"},
		{name: "no STUN", nat: NAT{}},
		{name: "as many servers as are asked", nat: NAT{STUN: true, Servers: servers[:MaxSTUNServers]}},
		{name: "more servers", nat: NAT{STUN: true, Servers: servers}, want: "kubespan.nat.servers has 5 servers; only the first 4 of each IP version are asked"},
		{name: "UPnP without port mapping", nat: NAT{UPnP: true}, want: "kubespan.nat.upnp has no effect, since nat.portMapping is false:"},
		{name: "UPnP", nat: NAT{PortMapping: true, UPnP: true}},
	} {
		config := &Config{}
		config.KubeSpan().Relay, config.KubeSpan().NAT = c.relay, c.nat
		got := strings.Join(config.Warnings(), "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
