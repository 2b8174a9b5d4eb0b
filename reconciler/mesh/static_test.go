package mesh

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/spanmesh/span/schema"
)

func TestStaticPeers(t *testing.T) {
	self := Identity{NodeID: "self", PublicKey: Key{99}, Subnet: prefixes("fd00::/64")[0], Address: prefixes("fd00::63/128")[0]}
	static := []*Affiliate{
		{NodeID: StaticID("known"), Nodename: "known", Static: true, Addresses: addrs("10.8.0.1"),
			KubeSpan: KubeSpan{PublicKey: Key{1}, AdditionalAddresses: prefixes("10.8.0.0/16"), Endpoints: addrPorts("192.0.2.1:1")}},
		{NodeID: StaticID("phone"), Nodename: "phone", Static: true, Addresses: addrs("10.7.0.1"),
			KubeSpan: KubeSpan{PublicKey: Key{7}, AdditionalAddresses: prefixes("10.7.0.1/32")}},
	}
	impostor := peer(5, nil)
	impostor.NodeID = StaticID("phone")
	greedy := peer(2, addrs("10.7.0.1")) // claims the address of the static peer
	for _, registries := range [][][]*Affiliate{
		{{peer(1, addrs("10.0.0.1")), greedy, impostor}, static},
		{static, {peer(1, addrs("10.0.0.1")), greedy, impostor}},
	} {
		good, refused := Filter(self, JoinStatic(Merge(registries...)), Present{})
		if len(refused) != 0 || len(good) != 3 {
			t.Fatalf("good are %+v, refused %v", good, refused)
		}
		peers := Peers(self, good)
		specs := PeerSpecs(peers)
		if len(specs) != 3 || specs[0].Label != "name-1" || len(specs[0].Endpoints) != 1 || specs[2].NodeID != "static:phone" {
			t.Fatalf("the peers are %+v", specs)
		}
		territory := NewTerritory(self, Host{}, &schema.KubeSpan{}, nil)
		for i, want := range [][]Claim{
			{{prefixes("10.0.0.1/32")[0], RankOwnAddress, false, 32, false}, {prefixes("10.8.0.0/16")[0], RankNetwork, true, 16, false}, {prefixes("fd00::1/128")[0], RankMeshAddress, false, 128, false}},
			{{prefixes("10.7.0.1/32")[0], RankOwnAddress, false, 32, false}, {prefixes("fd00::2/128")[0], RankMeshAddress, false, 128, false}},
			{{prefixes("10.7.0.1/32")[0], RankOwnAddress, true, 32, false}},
		} {
			if got, _ := territory.Claims(peers[i], nil, netip.AddrPort{}); !slices.Equal(got, want) {
				t.Errorf("%s claims %v, want %v", specs[i].Label, got, want)
			}
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
