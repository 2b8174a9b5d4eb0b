package state

import (
	"cmp"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// routed collects the networks that are routed into the tunnel. As in WireGuard, the longest
// prefix decides.
type routed struct {
	// subnet is that of the mesh, which has a rule already.
	subnet netip.Prefix
	in     []netip.Prefix
	// out are networks that are not routed, even as part of a wider one.
	out []netip.Prefix
}

// add routes networks.
func (r *routed) add(networks []netip.Prefix) {
	for _, n := range networks {
		if n.Bits() < r.subnet.Bits() || !r.subnet.Contains(n.Addr()) {
			r.in = append(r.in, n)
		}
	}
}

// except leaves networks out.
func (r *routed) except(networks []netip.Prefix) { r.out = append(r.out, networks...) }

// networks returns the routed networks, disjoint and sorted.
func (r *routed) networks() []netip.Prefix {
	if len(r.out) > 0 {
		return r.byLength()
	}
	slices.SortFunc(r.in, comparePrefixes)
	var last netip.Prefix
	return slices.DeleteFunc(r.in, func(n netip.Prefix) bool {
		if last.IsValid() && last.Contains(n.Addr()) {
			return true
		}
		last = n
		return false
	})
}

// byLength adds and removes networks, the longest last.
func (r *routed) byLength() []netip.Prefix {
	byBits := func(a, b netip.Prefix) int { return cmp.Compare(a.Bits(), b.Bits()) }
	slices.SortFunc(r.in, byBits)
	slices.SortFunc(r.out, byBits)
	var b netipx.IPSetBuilder
	for in, out := r.in, r.out; len(in) > 0; {
		for len(out) > 0 && out[0].Bits() < in[0].Bits() {
			b.RemovePrefix(out[0])
			out = out[1:]
		}
		bits := in[0].Bits()
		for len(in) > 0 && in[0].Bits() == bits {
			b.AddPrefix(in[0])
			in = in[1:]
		}
		if len(in) == 0 {
			for _, o := range out {
				b.RemovePrefix(o)
			}
		}
	}
	set, err := b.IPSet()
	if err != nil {
		return r.in // not reached: the networks are valid
	}
	return set.Prefixes()
}
