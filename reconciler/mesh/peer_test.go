package mesh

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"testing"
)

// peer returns an affiliate with key n and address fd00::n that claims networks.
func peer(n byte, addresses []netip.Addr, additional ...string) *Affiliate {
	return &Affiliate{
		NodeID:    fmt.Sprintf("node-%d", n),
		Nodename:  fmt.Sprintf("name-%d", n),
		Addresses: addresses,
		KubeSpan: KubeSpan{PublicKey: Key{n}, Address: netip.AddrFrom16([16]byte{0: 0xfd, 15: n}),
			AdditionalAddresses: prefixes(additional...)},
	}
}

func TestPeers(t *testing.T) {
	self := Identity{NodeID: "node-9", PublicKey: Key{9}}
	clone := peer(1, addrs("10.0.0.2"))
	clone.NodeID = "node-0"
	static := peer(2, nil)
	static.Static, static.NodeID = true, "static:two"
	for _, c := range []struct {
		name       string
		affiliates []*Affiliate
		want       []string
	}{
		{"in the order of keys", []*Affiliate{peer(3, nil), peer(1, nil)}, []string{"node-1", "node-3"}},
		{"this machine is not a peer, by key or by node ID",
			[]*Affiliate{peer(9, nil), {NodeID: "node-9", KubeSpan: KubeSpan{PublicKey: Key{3}, Address: netip.MustParseAddr("fd00::3")}}}, nil},
		{"a machine outside the mesh is not a peer", []*Affiliate{{NodeID: "x", Addresses: addrs("10.0.0.1")}}, nil},
		{"of two with one key, the first by node ID is the peer", []*Affiliate{peer(1, nil), clone}, []string{"node-0"}},
		{"of two with one key, a static one is the peer", []*Affiliate{static, peer(2, nil)}, []string{"static:two"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 3 {
				var got []string
				for _, s := range PeerSpecs(Peers(self, c.affiliates)) {
					got = append(got, s.NodeID)
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("got %v, want %v", got, c.want)
				}
				rand.Shuffle(len(c.affiliates), func(i, j int) {
					c.affiliates[i], c.affiliates[j] = c.affiliates[j], c.affiliates[i]
				})
			}
		})
	}
}

// manyAffiliates returns n affiliates with four addresses, one endpoint and a pod network each.
func manyAffiliates(n int) []*Affiliate {
	affiliates := make([]*Affiliate, n)
	for i := range affiliates {
		var key Key
		binary.BigEndian.PutUint64(key[:], uint64(i)*0x9e3779b97f4a7c15+1)
		mesh := netip.MustParseAddr("fd00:0:0:2::").As16()
		binary.BigEndian.PutUint32(mesh[12:], uint32(i+1))
		v6 := netip.MustParseAddr("2001:db8::").As16()
		binary.BigEndian.PutUint32(v6[12:], uint32(i+1))
		at := func(a, b byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, byte(i >> 8), byte(i)}) }
		affiliates[i] = &Affiliate{
			NodeID: fmt.Sprintf("node-%d", i), Nodename: fmt.Sprintf("name-%d", i),
			Addresses: []netip.Addr{at(10, 0), at(172, 16), at(192, 168), netip.AddrFrom16(v6)},
			KubeSpan: KubeSpan{PublicKey: key, Address: netip.AddrFrom16(mesh),
				AdditionalAddresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64 + byte(i>>12), byte(i >> 4), byte(i << 4)}), 28)},
				Endpoints:           []netip.AddrPort{netip.AddrPortFrom(at(10, 0), 51820)}},
		}
	}
	return affiliates
}

func BenchmarkPeerSpecs(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			affiliates := manyAffiliates(n)
			b.ReportAllocs()
			for b.Loop() {
				if specs := PeerSpecs(Peers(Identity{NodeID: "self"}, affiliates)); len(specs) != n {
					b.Fatalf("%d peers", len(specs))
				}
			}
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("affiliates=%d", n), func(b *testing.B) {
			affiliates := manyAffiliates(n)
			b.ReportAllocs()
			for b.Loop() {
				Merge(affiliates, affiliates[:1])
			}
		})
	}
}

func TestPeersAreNamedByHostnameAndByKeyWhereItIsNotUnique(t *testing.T) {
	labels := []string{"db1", "vm", "", "vm", "self", "bad\xff", Key{1}.String()}
	specs := make([]PeerSpec, len(labels))
	for i, label := range labels {
		specs[i].Label, specs[i].PublicKey[0] = label, byte(i+1)
	}
	none := func(string, string) string { return "" }
	NamePeers(specs, "self", none)
	for i, spec := range specs {
		want := spec.PublicKey.String()
		if i == 0 {
			want = "db1"
		}
		if spec.Name != want {
			t.Errorf("peer %d %q is named %q", i, spec.Label, spec.Name)
		}
	}
}

func TestPeersThatShareALabelHaveNamesOfTheirOwn(t *testing.T) {
	specs := make([]PeerSpec, 7)
	for i, label := range []string{"db1", "vm", "vm", "vm", "vm-4", "x", "x"} {
		specs[i].Label, specs[i].NodeID, specs[i].PublicKey[0] = label, strconv.Itoa(i+1), byte(i+1)
	}
	NamePeers(specs, "self", func(label, nodeID string) string {
		if label == "x" {
			return "x-0" // both come to the same
		}
		return label + "-" + nodeID
	})
	for i, want := range []string{"db1", "vm-2", "vm-3", specs[3].PublicKey.String(), "vm-4", specs[5].PublicKey.String(), specs[6].PublicKey.String()} {
		if specs[i].Name != want {
			t.Errorf("peer %d %q is named %q, want %q", i, specs[i].Label, specs[i].Name, want)
		}
	}
}
