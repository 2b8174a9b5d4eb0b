package mesh

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// peer returns an affiliate with key n and address fd00::n that claims networks.
func peer(n byte, addresses []netip.Addr, additional ...string) Affiliate {
	return Affiliate{
		NodeID:    fmt.Sprintf("node-%d", n),
		Nodename:  fmt.Sprintf("name-%d", n),
		Addresses: addresses,
		KubeSpan: KubeSpan{PublicKey: Key{n}, Address: netip.AddrFrom16([16]byte{0: 0xfd, 15: n}),
			AdditionalAddresses: prefixes(additional...)},
	}
}

func TestPeerSpecs(t *testing.T) {
	self := Identity{NodeID: "node-9", PublicKey: Key{9}}
	excluding := peer(1, addrs("10.0.0.1"), "10.1.0.0/16")
	excluding.KubeSpan.ExcludeAdvertisedNetworks = prefixes("10.1.128.0/17", "10.0.0.0/24", "fd00::/8")
	clone := peer(1, addrs("10.0.0.2"))
	clone.NodeID = "node-0"
	for _, c := range []struct {
		name       string
		affiliates []Affiliate
		want       map[byte][]netip.Prefix
		overlaps   []Overlap
	}{
		{"addresses and networks, in as few prefixes as possible",
			[]Affiliate{peer(1, addrs("10.0.0.0", "10.0.0.1"), "10.2.0.0/17", "10.2.128.0/17")},
			map[byte][]netip.Prefix{1: prefixes("10.0.0.0/31", "10.2.0.0/16", "fd00::1/128")}, nil},
		{"excluded networks are left out, but never the mesh address",
			[]Affiliate{excluding}, map[byte][]netip.Prefix{1: prefixes("10.1.0.0/17", "fd00::1/128")}, nil},
		{"this machine is not a peer, by key or by node ID",
			[]Affiliate{peer(9, nil), {NodeID: "node-9", KubeSpan: KubeSpan{PublicKey: Key{3}, Address: netip.MustParseAddr("fd00::3")}}}, nil, nil},
		{"a machine outside the mesh is not a peer", []Affiliate{{NodeID: "x", Addresses: addrs("10.0.0.1")}}, nil, nil},
		{"of two with one key, the first by node ID is the peer", []Affiliate{peer(1, addrs("10.0.0.1")), clone},
			map[byte][]netip.Prefix{1: prefixes("10.0.0.2/32", "fd00::1/128")}, nil},
		{"an address that two claim belongs to the key that sorts first", []Affiliate{peer(2, addrs("10.0.0.1")), peer(1, addrs("10.0.0.1"))},
			map[byte][]netip.Prefix{1: prefixes("10.0.0.1/32", "fd00::1/128"), 2: prefixes("fd00::2/128")},
			[]Overlap{{Key{1}, Key{2}, netip.MustParseAddr("10.0.0.1")}}},
		{"a network loses an address inside it", []Affiliate{peer(2, nil, "10.0.0.0/30"), peer(1, addrs("10.0.0.1"))},
			map[byte][]netip.Prefix{1: prefixes("10.0.0.1/32", "fd00::1/128"), 2: prefixes("10.0.0.0/32", "10.0.0.2/31", "fd00::2/128")},
			[]Overlap{{Key{1}, Key{2}, netip.MustParseAddr("10.0.0.1")}}},
		{"an address inside the network of a key that sorts first is lost", []Affiliate{peer(1, nil, "10.0.0.0/30"), peer(2, addrs("10.0.0.1"))},
			map[byte][]netip.Prefix{1: prefixes("10.0.0.0/30", "fd00::1/128"), 2: prefixes("fd00::2/128")},
			[]Overlap{{Key{1}, Key{2}, netip.MustParseAddr("10.0.0.1")}}},
		{"all of both IP versions", []Affiliate{peer(1, nil, "0.0.0.0/0", "::/0"), peer(2, nil, "10.0.0.0/8")},
			map[byte][]netip.Prefix{1: prefixes("0.0.0.0/0", "::/0"), 2: nil},
			[]Overlap{{Key{1}, Key{2}, netip.MustParseAddr("10.0.0.0")}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 3 {
				specs, overlaps := PeerSpecs(self, c.affiliates)
				got := map[byte][]netip.Prefix{}
				for _, s := range specs {
					got[s.PublicKey[0]] = s.AllowedIPs
				}
				if diff := cmp.Diff(c.want, got, compare); diff != "" {
					t.Errorf("allowed IPs (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(c.overlaps, overlaps, compare); diff != "" {
					t.Errorf("overlaps (-want +got):\n%s", diff)
				}
				rand.Shuffle(len(c.affiliates), func(i, j int) {
					c.affiliates[i], c.affiliates[j] = c.affiliates[j], c.affiliates[i]
				})
			}
		})
	}
}

// TestEveryAddressHasOneOwner compares with the definition, on random claims in a small
// range of addresses.
func TestEveryAddressHasOneOwner(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var affiliates []Affiliate
		for n := range byte(1 + random.IntN(6)) {
			var networks []string
			for range random.IntN(4) {
				bits := 27 + random.IntN(6)
				network, _ := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(32))}).Prefix(bits)
				networks = append(networks, network.String())
			}
			affiliates = append(affiliates, peer(n+1, nil, networks...))
		}
		specs, overlaps := PeerSpecs(Identity{NodeID: "self"}, affiliates)
		losers := map[Key]bool{}
		for i := range 32 {
			address := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			contains := func(p netip.Prefix) bool { return p.Contains(address) }
			var claimants, holders []Key
			for _, a := range affiliates {
				if slices.ContainsFunc(a.KubeSpan.AdditionalAddresses, contains) {
					claimants = append(claimants, a.KubeSpan.PublicKey)
				}
			}
			for _, s := range specs {
				if slices.ContainsFunc(s.AllowedIPs, contains) {
					holders = append(holders, s.PublicKey)
				}
			}
			if len(claimants) > 0 {
				for _, k := range claimants[1:] {
					losers[k] = true
				}
				claimants = claimants[:1]
			}
			if !slices.Equal(claimants, holders) {
				t.Fatalf("%s belongs to %v, want %v, of %+v", address, holders, claimants, affiliates)
			}
		}
		if len(overlaps) != len(losers) {
			t.Fatalf("%d peers lost addresses, %d overlaps: %+v", len(losers), len(overlaps), overlaps)
		}
	}
}

// manyAffiliates returns n affiliates with four addresses, one endpoint and a pod network each.
func manyAffiliates(n int) []Affiliate {
	affiliates := make([]Affiliate, n)
	for i := range affiliates {
		var key Key
		binary.BigEndian.PutUint64(key[:], uint64(i)*0x9e3779b97f4a7c15+1)
		mesh := netip.MustParseAddr("fd00:0:0:2::").As16()
		binary.BigEndian.PutUint32(mesh[12:], uint32(i+1))
		v6 := netip.MustParseAddr("2001:db8::").As16()
		binary.BigEndian.PutUint32(v6[12:], uint32(i+1))
		at := func(a, b byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, byte(i >> 8), byte(i)}) }
		affiliates[i] = Affiliate{
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
				if specs, _ := PeerSpecs(Identity{NodeID: "self"}, affiliates); len(specs) != n {
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
