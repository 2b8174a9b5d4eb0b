package mesh

import (
	"net/netip"
	"slices"
	"testing"
)

func TestRank(t *testing.T) {
	dual := []Link{{Name: "eth0", Networks: prefixes("10.1.0.0/24", "2001:db8:1::/64")}}
	only4 := []Link{{Name: "eth0", Networks: prefixes("10.1.0.0/24")}}
	for _, c := range []struct {
		name      string
		links     []Link
		lastGood  string
		endpoints []netip.AddrPort
		addresses []netip.Addr
		want      []netip.AddrPort
	}{
		{"the same network, the last good one, public, the rest", dual, "100.64.9.9:7",
			addrPorts("192.168.3.3:1", "198.51.100.1:1", "10.1.0.9:1", "[2001:db8:1::9]:1", "100.64.9.9:7"), addrs("10.1.0.9", "2001:db8:1::9", "192.168.3.3"),
			addrPorts("10.1.0.9:1", "[2001:db8:1::9]:1", "100.64.9.9:7", "198.51.100.1:1", "192.168.3.3:1")},
		{"an address that the peer no longer has is not in the same network", dual, "", addrPorts("10.1.0.8:1", "10.1.0.9:1"), addrs("10.1.0.9"), addrPorts("10.1.0.9:1", "10.1.0.8:1")},
		{"the last good one is first although it is not listed", only4, "203.0.113.5:4000", addrPorts("198.51.100.1:1"), nil, addrPorts("203.0.113.5:4000", "198.51.100.1:1")},
		{"an IP version that the machine lacks comes last", only4, "", addrPorts("[2001:db8::1]:1", "192.168.0.1:1"), nil, addrPorts("192.168.0.1:1", "[2001:db8::1]:1")},
		{"a machine without known links", nil, "", addrPorts("[2001:db8::1]:1", "198.51.100.1:1"), nil, addrPorts("[2001:db8::1]:1", "198.51.100.1:1")},
		{"no endpoints", dual, "", nil, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var lastGood netip.AddrPort
			if c.lastGood != "" {
				lastGood = netip.MustParseAddrPort(c.lastGood)
			}
			before := slices.Clone(c.endpoints)
			got := Rank(c.links, lastGood, &PeerSpec{Endpoints: c.endpoints, Addresses: c.addresses})
			if !slices.Equal(got, c.want) || !slices.Equal(before, c.endpoints) {
				t.Errorf("got %v, want %v; the input is %v", got, c.want, c.endpoints)
			}
		})
	}
}

func TestPathMTU(t *testing.T) {
	wan := Link{Name: "wan", MTU: 1500, Default: true, Networks: prefixes("198.51.100.0/24")}
	lan := Link{Name: "lan", MTU: 1400, Networks: prefixes("10.0.0.0/24")}
	tiny := Link{Name: "tiny", MTU: 1280, Default: true}
	near := []PeerSpec{{Endpoints: addrPorts("10.0.0.9:1")}}
	far := []PeerSpec{{Endpoints: addrPorts("203.0.113.9:1")}}
	for _, c := range []struct {
		name  string
		links []Link
		peers []PeerSpec
		want  int
	}{
		{"all over the default route", []Link{wan, lan}, far, 1420},
		{"one in the same network", []Link{wan, lan}, near, 1320},
		{"at least the minimum of IPv6", []Link{tiny}, far, 1280},
		{"no known links", nil, far, 1420},
	} {
		if got := PathMTU(c.links, c.peers); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
