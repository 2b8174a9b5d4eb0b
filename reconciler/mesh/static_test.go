package mesh

import (
	"slices"
	"testing"
)

func TestStaticPeers(t *testing.T) {
	self := Identity{NodeID: "self", PublicKey: Key{99}, Subnet: prefixes("fd00::/64")[0], Address: prefixes("fd00::63/128")[0]}
	static := []Affiliate{
		{NodeID: StaticID("known"), Nodename: "known", Static: true, Addresses: addrs("10.8.0.1"),
			KubeSpan: KubeSpan{PublicKey: Key{1}, AdditionalAddresses: prefixes("10.8.0.0/16"), Endpoints: endpointsOf("192.0.2.1:1")}},
		{NodeID: StaticID("phone"), Nodename: "phone", Static: true, Addresses: addrs("10.7.0.1"),
			KubeSpan: KubeSpan{PublicKey: Key{7}, AdditionalAddresses: prefixes("10.7.0.1/32")}},
	}
	pretender := peer(5, nil)
	pretender.NodeID = StaticID("phone")
	greedy := peer(2, addrs("10.7.0.1")) // claims what the config gives to the phone
	for _, registries := range [][][]Affiliate{
		{{peer(1, addrs("10.0.0.1")), greedy, pretender}, static},
		{static, {peer(1, addrs("10.0.0.1")), greedy, pretender}},
	} {
		good, refused := Filter(self, JoinStatic(Merge(registries...)))
		if len(refused) != 0 || len(good) != 3 {
			t.Fatalf("good are %+v, refused %v", good, refused)
		}
		specs, overlaps := PeerSpecs(self, good)
		if len(specs) != 3 || !slices.IsSortedFunc(specs, func(a, b PeerSpec) int { return a.PublicKey.Compare(b.PublicKey) }) {
			t.Fatalf("the peers are %+v", specs)
		}
		known, loser, phone := specs[0], specs[1], specs[2]
		if !slices.Equal(known.AllowedIPs, prefixes("10.0.0.1/32", "10.8.0.0/16", "fd00::1/128")) || known.Label != "name-1" || len(known.Endpoints) != 1 {
			t.Errorf("the peer that another registry has too is %+v", known)
		}
		if !slices.Equal(phone.AllowedIPs, prefixes("10.7.0.1/32")) || phone.Label != "phone" || phone.NodeID != "static:phone" {
			t.Errorf("the phone is %+v", phone)
		}
		if !slices.Equal(loser.AllowedIPs, prefixes("fd00::2/128")) || len(overlaps) != 1 || overlaps[0].Winner != phone.PublicKey {
			t.Errorf("an affiliate took what the config gives to another: %+v, %v", loser, overlaps)
		}
		if members := Members(good); len(members) != 3 {
			t.Errorf("members are %+v", members)
		}
		keys := PresharedKeys(good, map[Key]PrivateKey{{1}: SecretKey([32]byte{1})})
		if none, ok := keys[Key{7}]; !ok || !none.IsZero() || keys[Key{1}].IsZero() || len(keys) != 2 {
			t.Errorf("the preshared keys are %v", keys)
		}
	}
}

func TestPickRelay(t *testing.T) {
	offers := []Key{{10}, {11}, {12}, {13}}
	counts := map[Key]int{}
	for n := range byte(64) {
		a, b := PeerSpec{PublicKey: Key{n, 1}}, PeerSpec{PublicKey: Key{n, 2}}
		a.Relays, b.Relays = offers[1:], offers[:3]
		// Each end knows what it reaches itself, and what the other says.
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
	if relay, found := PickRelay(Key{1}, PeerSpec{PublicKey: Key{2}, Relays: offers[:1]}, offers[1:]); found {
		t.Errorf("picked %v, which only one reaches", relay)
	}
	if relay, found := PickRelay(Key{1}, PeerSpec{PublicKey: Key{10}, Relays: offers[:1]}, offers[:1]); found {
		t.Errorf("%v is a relay to itself", relay)
	}
}
