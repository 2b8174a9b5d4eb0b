package state

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/spanmesh/span/reconciler/mesh"
)

// TestCarrierIsFoundEitherWay has carriers looked for one by one and by the index.
func TestCarrierIsFoundEitherWay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	network := func() netip.Prefix {
		address := netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.IntN(4)), 0})
		if r.IntN(4) == 0 {
			address = netip.AddrFrom16([16]byte{0xfd, byte(r.IntN(4))})
		}
		return netip.PrefixFrom(address, r.IntN(25)).Masked()
	}
	for range 200 {
		owners := map[netip.Prefix]bool{}
		live := make([]Peer, 6)
		for i := range live {
			live[i].PublicKey = mesh.Key{byte(i + 1)}
			for range 4 {
				if n := network(); !owners[n] {
					owners[n] = true
					live[i].AllowedIPs = append(live[i].AllowedIPs, n)
				}
			}
		}
		one, index := newTakings(nil, live), newTakings(nil, live)
		index.looked = manyLookups
		for range 20 {
			if n := network(); one.search(n) != index.carrier(n) {
				t.Fatalf("%v is carried by %v or %v of %v", n, one.search(n), index.carrier(n), live)
			}
		}
	}
}
