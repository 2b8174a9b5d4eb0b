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
	// spare is a list that replace uses again.
	spare []netip.Prefix
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
	return outermost(r.in)
}

// outermost returns the networks of a sorted list that are in no other one.
func outermost(networks []netip.Prefix) []netip.Prefix {
	outer := make([]netip.Prefix, 0, len(networks))
	for _, n := range networks {
		if len(outer) == 0 || !outer[len(outer)-1].Contains(n.Addr()) {
			outer = append(outer, n)
		}
	}
	return outer
}

// replace routes the networks of added and no longer those of removed, where nothing is left out.
func (r *routed) replace(removed, added []netip.Prefix) {
	a, b := routed{subnet: r.subnet}, routed{subnet: r.subnet}
	a.add(removed)
	b.add(added)
	slices.SortFunc(a.in, comparePrefixes)
	slices.SortFunc(b.in, comparePrefixes)
	merged := slices.Grow(r.spare[:0], len(r.in)+len(b.in))
	gone, more := a.in, b.in
	for _, n := range r.in {
		for len(more) > 0 && comparePrefixes(more[0], n) <= 0 {
			merged, more = append(merged, more[0]), more[1:]
		}
		merged = append(merged, n)
	}
	merged = append(merged, more...)
	r.spare = r.in
	r.in = slices.DeleteFunc(merged, func(n netip.Prefix) bool {
		if len(gone) > 0 && gone[0] == n {
			gone = gone[1:]
			return true
		}
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
