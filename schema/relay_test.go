package schema

import "testing"

// TestRelayOfEarlierVersions keeps what use and offer meant before there were relays that cannot read.
func TestRelayOfEarlierVersions(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name                   string
		relay                  Relay
		blind, forward, offers bool
	}{
		{"nothing written", Relay{}, true, false, false},
		{"use: true", Relay{Use: &yes}, true, true, false},
		{"use: false", Relay{Use: &no}, false, false, false},
		{"forwarding alone", Relay{Use: &no, Forwarding: Forwarding{Use: true, Offer: true}}, false, true, true},
		{"offer: true", Relay{Offer: true}, true, false, true},
	} {
		if r := &c.relay; r.UsesBlind() != c.blind || r.UsesForwarding() != c.forward || r.OffersForwarding() != c.offers {
			t.Errorf("%s: blind %t, forwarding %t, offers forwarding %t", c.name, r.UsesBlind(), r.UsesForwarding(), r.OffersForwarding())
		}
	}
}

func TestRelayPort(t *testing.T) {
	for _, c := range []struct {
		name                string
		relay, listen, want int
	}{
		{"both by default", 51821, 51820, 51821},
		{"WireGuard has the relay's default", 51821, 51821, 51822},
	} {
		k := KubeSpan{ListenPort: c.listen, Relay: Relay{Port: c.relay}}
		if got := k.RelayPort(); got != c.want {
			t.Errorf("%s: %d", c.name, got)
		}
	}
}
