package schema

import "net/netip"

// Special is a network that has a meaning of its own on every machine or link (RFC 6890).
type Special struct {
	Prefix netip.Prefix
	// What completes the sentence "the address …".
	What string
}

// mapped are the IPv4-mapped IPv6 addresses (RFC 4291, section 2.5.5.2).
var mapped = netip.MustParsePrefix("::ffff:0:0/96")

// Specials are the networks that no machine may claim.
var Specials = []Special{
	{netip.MustParsePrefix("0.0.0.0/8"), "is unspecified"},
	{netip.MustParsePrefix("127.0.0.0/8"), "is loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "is link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "is multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "is broadcast"},
	{netip.MustParsePrefix("::/128"), "is unspecified"},
	{netip.MustParsePrefix("::1/128"), "is loopback"},
	{mapped, "is IPv4 written as IPv6"},
	{netip.MustParsePrefix("fe80::/10"), "is link-local"},
	{netip.MustParsePrefix("ff00::/8"), "is multicast"},
}

// SpecialMeaning returns why no machine may claim a network, such as "is multicast"; empty if
// one may. A network around a special one has none.
func SpecialMeaning(p netip.Prefix) string {
	for _, s := range Specials {
		if s.Prefix.Bits() <= p.Bits() && s.Prefix.Contains(p.Addr()) {
			return s.What
		}
	}
	return ""
}

// Unmap returns a network of IPv4-mapped IPv6 addresses as one of IPv4, and others as they are.
func Unmap(p netip.Prefix) netip.Prefix {
	if p.IsValid() && p.Addr().Is4In6() && p.Bits() >= mapped.Bits() {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped.Bits())
	}
	return p
}
