package state

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestRoutedNetworks compares with the definition: an address is routed if the longest network
// that has it is.
func TestRoutedNetworks(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }
	for range 3000 {
		seen := map[netip.Prefix]bool{}
		list := func(most int) (networks []netip.Prefix) {
			for range random.IntN(most + 1) {
				n, _ := at(random.IntN(32)).Prefix(26 + random.IntN(7))
				if !seen[n] {
					networks = append(networks, n)
				}
				seen[n] = true
			}
			return networks
		}
		in, out := list(5), list(random.IntN(4))
		r := routed{subnet: netip.MustParsePrefix("fd00::/64")}
		r.add(in)
		r.except(out)
		got := r.networks()
		for i := range got[:max(0, len(got)-1)] {
			if got[i].Overlaps(got[i+1]) || comparePrefixes(got[i], got[i+1]) >= 0 {
				t.Fatalf("%v overlap or are not in order, of %v without %v", got, in, out)
			}
		}
		longest := func(networks []netip.Prefix, a netip.Addr) int {
			bits := -1
			for _, n := range networks {
				if n.Contains(a) {
					bits = max(bits, n.Bits())
				}
			}
			return bits
		}
		for i := range 64 {
			want := longest(in, at(i)) > longest(out, at(i))
			if is := slices.ContainsFunc(got, func(n netip.Prefix) bool { return n.Contains(at(i)) }); is != want {
				t.Fatalf("%s is routed: %v, want %v, of %v without %v: %v", at(i), is, want, in, out, got)
			}
		}
	}
}

// TestMeshSubnetIsNotListed leaves out what is in the mesh's subnet, which has a rule, and keeps
// a network around it.
func TestMeshSubnetIsNotListed(t *testing.T) {
	r := routed{subnet: netip.MustParsePrefix("fd00::/64")}
	wide := netip.MustParsePrefix("fc00::/7")
	r.add([]netip.Prefix{netip.MustParsePrefix("fd00::1/128"), wide, netip.MustParsePrefix("fd00::/64")})
	if got := r.networks(); !slices.Equal(got, []netip.Prefix{wide}) {
		t.Errorf("routed are %v, want %s", got, wide)
	}
}
