package schema

import (
	"fmt"
	"net/netip"
	"slices"
)

// FilterRemedy says how to write a filter that excludes something.
const FilterRemedy = `put "0.0.0.0/0" and "::/0" before what the filter excludes: the last entry that matches decides`

// Warnings returns what a valid config probably does not mean, each in a line with its setting and
// what would be right.
func (c *Config) Warnings() (warnings []string) {
	f := c.KubeSpan().Filters
	for _, one := range []struct {
		name    string
		filters []Filter
		passes  func([]Filter) bool
	}{
		{"endpoints", f.Endpoints, passesAddresses},
		{"peerEndpoints", f.PeerEndpoints, passesAddresses},
		{"peerNetworks", f.PeerNetworks, passesNetworks},
	} {
		if fault := faultOf(one.filters, one.passes); fault != "" {
			warnings = append(warnings, "machine.network.kubespan.filters."+one.name+" "+fault)
		}
	}
	warnings = append(warnings, c.KubeSpan().settingWarnings()...)
	if _, err := ParseKey(c.Cluster.ID); err != nil && c.Cluster.ID != "" {
		warnings = append(warnings, "cluster.id "+err.Error()+": it is used as written, and every machine of the cluster needs the same")
	}
	return warnings
}

// maxChecked is how many entries of a filter are compared, since the time grows with the square.
const maxChecked = 256

// faultOf returns what is probably wrong with a filter: that it lets nothing through, or the first
// entry that matches nothing or excludes what no entry before it includes. Passes reports whether
// filters let anything through.
func faultOf(filters []Filter, passes func(filters []Filter) bool) string {
	if len(filters) > 0 && !passes(slices.DeleteFunc(slices.Clone(filters), Filter.isMapped)) {
		return "lets nothing through, since a filter starts from nothing: " + FilterRemedy
	}
	for i, f := range filters[:min(len(filters), maxChecked)] {
		includes := func(o Filter) bool { return !o.Exclude && o.Prefix.Overlaps(f.Prefix) }
		switch {
		case f.isMapped():
			return fmt.Sprintf("has %s, which matches nothing: write %s as IPv4", f, Unmap(f.Prefix))
		case f.Exclude && !slices.ContainsFunc(filters[:i], includes):
			return fmt.Sprintf("has %s where it excludes nothing, since no entry before it includes that: %s", f, FilterRemedy)
		}
	}
	return ""
}

// isMapped reports whether a filter is for IPv4 addresses written as IPv6, which no address is.
func (f Filter) isMapped() bool { return Unmap(f.Prefix) != f.Prefix }

// passesNetworks reports whether a list of filters lets any network through as a whole. A list that
// is too long to be compared counts as one that does.
func passesNetworks(filters []Filter) bool {
	return len(filters) > maxChecked || slices.ContainsFunc(filters, func(f Filter) bool {
		last, _ := Decisive(filters, f.Prefix)
		return !last.Exclude
	})
}

// passesAddresses reports whether a list of filters lets any address through.
func passesAddresses(filters []Filter) bool {
	return passesIn(filters, netip.PrefixFrom(netip.IPv4Unspecified(), 0)) ||
		passesIn(filters, netip.PrefixFrom(netip.IPv6Unspecified(), 0))
}

// passesIn reports whether a list of filters lets any address of a network through. It halves the
// network until the entries contain what is left, or are elsewhere.
func passesIn(filters []Filter, network netip.Prefix) bool {
	var near []Filter
	whole := true
	for _, f := range filters {
		if !f.Prefix.Overlaps(network) {
			continue
		}
		near = append(near, f)
		whole = whole && f.Prefix.Bits() <= network.Bits()
	}
	if whole {
		return len(near) > 0 && !near[len(near)-1].Exclude
	}
	lower, upper := halves(network)
	return passesIn(near, lower) || passesIn(near, upper)
}

// halves returns the two halves of a network of more than one address.
func halves(network netip.Prefix) (lower, upper netip.Prefix) {
	at := network.Bits()
	bytes := network.Addr().AsSlice()
	bytes[at/8] |= 0x80 >> (at % 8)
	second, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(network.Addr(), at+1), netip.PrefixFrom(second, at+1)
}
