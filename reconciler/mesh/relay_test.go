package mesh

import (
	"net/netip"
	"slices"
	"testing"
)

func TestPickRelay(t *testing.T) {
	relays := []Key{{10}, {11}, {12}, {13}}
	counts := map[Key]int{}
	for n := range byte(64) {
		a, b := PeerSpec{PublicKey: Key{n, 1}}, PeerSpec{PublicKey: Key{n, 2}}
		a.Relays, b.Relays = relays[1:], relays[:3]
		// Each end knows the relays that it reaches, and those that the other publishes.
		here, found := PickRelay(a.PublicKey, b, a.Relays)
		there, also := PickRelay(b.PublicKey, a, b.Relays)
		if !found || !also || here != there {
			t.Fatalf("the ends pick %v and %v", here, there)
		}
		counts[here]++
	}
	if len(counts) != 2 || counts[Key{11}] < 8 || counts[Key{12}] < 8 {
		t.Errorf("the relays are picked %v times", counts)
	}
	if relay, found := PickRelay(Key{1}, PeerSpec{PublicKey: Key{2}, Relays: relays[:1]}, relays[1:]); found {
		t.Errorf("picked %v, which only one end reaches", relay)
	}
	if relay, found := PickRelay(Key{1}, PeerSpec{PublicKey: Key{10}, Relays: relays[:1]}, relays[:1]); found {
		t.Errorf("%v is its own relay", relay)
	}
}

// TestListedRelaysAreNoEndpoints has peers that list endpoints of relays among their own.
func TestListedRelaysAreNoEndpoints(t *testing.T) {
	listed := addrPorts("192.0.2.1:51820", "198.51.100.1:51821")
	for _, c := range []struct {
		name         string
		k            KubeSpan
		static       bool
		want         []netip.AddrPort
		refused      int
		withoutAgent bool
	}{
		{name: "a Talos node", k: KubeSpan{Endpoints: listed}, want: listed, withoutAgent: true},
		{name: "a static peer", k: KubeSpan{Endpoints: listed}, static: true, want: listed},
		{name: "one that looks for paths", k: KubeSpan{Endpoints: listed, Probes: true}, want: listed},
		{name: "one that uses no relays", k: KubeSpan{Endpoints: listed, KnowsRelays: true}, want: listed},
		{name: "one that names a relay's", k: KubeSpan{Endpoints: listed, Registered: []Key{{9}}, RelayEndpoints: listed[1:]}, want: listed[:1], refused: 1},
		{name: "one that has withdrawn it", k: KubeSpan{Endpoints: listed[:1], Registered: []Key{{9}}, RelayEndpoints: listed[1:]}, want: listed[:1]},
		{name: "one that names all", k: KubeSpan{Endpoints: listed, Probes: true, RelayEndpoints: listed}, refused: 2},
	} {
		before := slices.Clone(listed)
		s := PeerSpecs([]*Affiliate{{Static: c.static, KubeSpan: c.k}})[0]
		if !slices.Equal(s.Endpoints, c.want) || len(s.Refused) != c.refused || s.WithoutAgent != c.withoutAgent || !slices.Equal(s.RelayEndpoints, c.k.RelayEndpoints) {
			t.Errorf("%s: %+v", c.name, s)
		}
		if !slices.Equal(listed, before) {
			t.Fatalf("%s: what it publishes was changed to %v", c.name, listed)
		}
	}
}
