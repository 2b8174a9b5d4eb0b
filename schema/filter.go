package schema

import (
	"encoding"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Filter is one entry of an ordered list that selects addresses. Passes says what a list means.
type Filter struct {
	// Prefix is the network, masked. A single address is a network of its own.
	Prefix netip.Prefix
	// Exclude turns the entry into an exclusion. It is written as a leading "!".
	Exclude bool
}

var (
	_ encoding.TextUnmarshaler = (*Filter)(nil)
	_ encoding.TextMarshaler   = Filter{}
)

// UnmarshalText parses a network or an address, such as "10.0.0.0/8" or "!192.168.1.5".
func (f *Filter) UnmarshalText(text []byte) error {
	network, exclude := strings.CutPrefix(string(text), "!")
	prefix, err := netip.ParsePrefix(network)
	if err != nil {
		address, err := netip.ParseAddr(network)
		if err != nil {
			return fmt.Errorf("%q is neither a network in CIDR notation nor an address", text)
		}
		prefix = netip.PrefixFrom(address, address.BitLen()) // without a zone
	}
	*f = Filter{Prefix: prefix.Masked(), Exclude: exclude}
	return nil
}

// MarshalText is the inverse of UnmarshalText. An address is written as a network.
func (f Filter) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

func (f Filter) String() string {
	if f.Exclude {
		return "!" + f.Prefix.String()
	}
	return f.Prefix.String()
}

// Passes reports whether a list of filters lets an address through. A list without entries lets
// everything through. Any other starts from nothing, and the last entry that contains the address
// decides: it lets the address through, or with Exclude keeps it out. This is the meaning that the
// list has in Talos.
func Passes(filters []Filter, address netip.Addr) bool {
	for _, f := range slices.Backward(filters) {
		if f.Prefix.Contains(address) {
			return !f.Exclude
		}
	}
	return len(filters) == 0
}

// Select returns the addresses that a list of filters lets through, in the order in which its entries
// include them: a filter says what comes first, too. Without entries it returns all as they are.
func Select(filters []Filter, addresses []netip.Addr) []netip.Addr {
	if len(filters) == 0 {
		return addresses
	}
	type included struct {
		address netip.Addr
		by      int
	}
	var found []included
	for _, a := range addresses {
		by := -1
		for i, f := range filters {
			switch {
			case !f.Prefix.Contains(a):
			case f.Exclude:
				by = -1
			case by < 0:
				by = i
			}
		}
		if by >= 0 {
			found = append(found, included{a, by})
		}
	}
	slices.SortStableFunc(found, func(a, b included) int { return a.by - b.by })
	selected := make([]netip.Addr, len(found))
	for i, f := range found {
		selected[i] = f.address
	}
	return selected
}

// Decisive returns the last filter that contains a whole network. Found is false if none does.
func Decisive(filters []Filter, network netip.Prefix) (last Filter, found bool) {
	for _, f := range slices.Backward(filters) {
		if f.Prefix.Bits() <= network.Bits() && f.Prefix.Contains(network.Addr()) {
			return f, true
		}
	}
	return Filter{}, false
}

// LinkFilter is one entry of a filter of links.
type LinkFilter struct {
	// Pattern is a name, with the wildcards of path.Match.
	Pattern string
	// Exclude turns the entry into an exclusion. It is written as a leading "!".
	Exclude bool
}

var (
	_ encoding.TextUnmarshaler = (*LinkFilter)(nil)
	_ encoding.TextMarshaler   = LinkFilter{}
)

// UnmarshalText parses "eth*" or "!cilium_*".
func (f *LinkFilter) UnmarshalText(text []byte) error {
	pattern, exclude := strings.CutPrefix(string(text), "!")
	if _, err := path.Match(pattern, ""); err != nil || pattern == "" || strings.ContainsAny(pattern, "!/ ") {
		return fmt.Errorf("%q is not the name of a link, or a pattern of names", text)
	}
	*f = LinkFilter{Pattern: pattern, Exclude: exclude}
	return nil
}

// ChoosesLink returns what the last of Interfaces that matches a link's name says about it. Named
// is false if none matches.
func (f *Filters) ChoosesLink(name string) (named, included bool) {
	for _, f := range slices.Backward(f.Interfaces) {
		if f.Matches(name) {
			return true, !f.Exclude
		}
	}
	return false, false
}

// MarshalText is the inverse of UnmarshalText.
func (f LinkFilter) MarshalText() ([]byte, error) {
	if f.Exclude {
		return []byte("!" + f.Pattern), nil
	}
	return []byte(f.Pattern), nil
}

// Matches reports whether the name of a link matches the pattern.
func (f LinkFilter) Matches(name string) bool {
	matches, err := path.Match(f.Pattern, name)
	return err == nil && matches
}
