package mesh

import (
	"slices"
	"testing"
)

func TestStaticPeers(t *testing.T) {
	self := Identity{NodeID: "self", PublicKey: Key{99}, Subnet: prefixes("fd00::/64")[0], Address: prefixes("fd00::63/128")[0]}
	static := []Affiliate{
		{NodeID: StaticID("known"), Nodename: "known", Static: true, Addresses: addrs("10.8.0.1"),
			KubeSpan: KubeSpan{PublicKey: Key{1}, AdditionalAddresses: prefixes("10.8.0.0/16"), Endpoints: addrPorts("192.0.2.1:1")}},
		{NodeID: StaticID("phone"), Nodename: "phone", Static: true, Addresses: addrs("10.7.0.1"),
			KubeSpan: KubeSpan{PublicKey: Key{7}, AdditionalAddresses: prefixes("10.7.0.1/32")}},
	}
	impostor := peer(5, nil)
	impostor.NodeID = StaticID("phone")
	greedy := peer(2, addrs("10.7.0.1")) // claims the address of the static peer
	for _, registries := range [][][]Affiliate{
		{{peer(1, addrs("10.0.0.1")), greedy, impostor}, static},
		{static, {peer(1, addrs("10.0.0.1")), greedy, impostor}},
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
			t.Errorf("an affiliate took the address of a static peer: %+v, %v", loser, overlaps)
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
