package mesh

import "testing"

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
