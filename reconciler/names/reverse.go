package names

import (
	"net/netip"
	"strconv"
	"strings"
)

// The zones of all addresses (RFC 1035, section 3.5, and RFC 3596, section 2.5).
const (
	zone4 = "in-addr.arpa"
	zone6 = "ip6.arpa"
)

// digits is how many bits a label of a reverse zone has.
func digits(a netip.Addr) int {
	if a.Is4() {
		return 8
	}
	return 4
}

// PointerName returns the name at which the name of an address is found.
func PointerName(a netip.Addr) string { return reverse(a, a.BitLen()) }

// reverse returns the name of the first bits of an address, which are whole labels.
func reverse(a netip.Addr, bits int) string {
	bytes := a.AsSlice()
	var name strings.Builder
	for i := bits/digits(a) - 1; i >= 0; i-- {
		if a.Is4() {
			name.WriteString(strconv.Itoa(int(bytes[i])))
		} else {
			name.WriteByte("0123456789abcdef"[bytes[i/2]>>(4*(1-i%2))&0xf])
		}
		name.WriteByte('.')
	}
	if a.Is4() {
		return name.String() + zone4
	}
	return name.String() + zone6
}

// ReverseZones returns the zones of the addresses in a network: one, or several where the network
// ends within a label, at most 128.
func ReverseZones(network netip.Prefix) (zones []string) {
	a := network.Masked().Addr()
	step := digits(a)
	whole := (network.Bits() + step - 1) / step * step
	for range 1 << (whole - network.Bits()) {
		zones = append(zones, reverse(a, whole))
		a = next(a, whole)
	}
	return zones
}

// next returns the first address after a network with that many bits. After the last one, it is the
// first of all.
func next(a netip.Addr, bits int) netip.Addr {
	bytes := a.AsSlice()
	for i, add := (bits-1)/8, 1<<(7-(bits-1)%8); i >= 0 && add > 0 && bits > 0; i-- {
		sum := int(bytes[i]) + add
		bytes[i], add = byte(sum), sum>>8
	}
	after, _ := netip.AddrFromSlice(bytes) // it has as many bytes
	return after
}

// InZone reports whether a name is that of a zone, or below it. Both are in lower case.
func InZone(name, zone string) bool {
	return name == zone || strings.HasSuffix(name, "."+zone)
}
