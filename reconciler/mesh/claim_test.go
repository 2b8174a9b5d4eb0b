package mesh

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/schema"
)

// home is a machine in two networks behind a gateway, with a bridge for containers.
func home(filters ...string) (Identity, Host, schema.KubeSpan) {
	id := Identity{NodeID: "self", PublicKey: Key{99}, Subnet: prefixes("fd00::/64")[0], Address: prefixes("fd00::63/128")[0]}
	host := Host{
		Addresses: addrs("10.0.0.1", "2001:db8::1"),
		Own:       addrs("127.0.0.1", "10.0.0.1", "2001:db8::1", "172.17.0.1", "192.0.2.53"),
		Links: []Link{{Name: "eth0", Networks: prefixes("10.0.0.0/24", "2001:db8::/64"), Default: true, Gateway: netip.MustParseAddr("10.0.0.254")},
			{Name: "wan", Default: true, Gateway: netip.MustParseAddr("198.51.100.1")}},
		Connected: []Connected{{"docker0", prefixes("172.17.0.0/16")[0]}, {"eth0", prefixes("10.0.0.0/24")[0]}},
	}
	var k schema.KubeSpan
	for _, f := range filters {
		var parsed schema.Filter
		if err := parsed.UnmarshalText([]byte(f)); err != nil {
			panic(err)
		}
		k.Filters.PeerNetworks = append(k.Filters.PeerNetworks, parsed)
	}
	return id, host, k
}

// show prints claims and refusals in short.
func show(claims []Claim, refusals []Refusal) string {
	var out []string
	for _, c := range claims {
		text := fmt.Sprintf("%s %s", c.Prefix, c.Rank)
		if int(c.Length) != c.Prefix.Bits() {
			text += fmt.Sprintf(" of /%d", c.Length)
		}
		out = append(out, text)
	}
	for _, r := range refusals {
		out = append(out, fmt.Sprintf("%s %s", r.Prefix, r.Reason))
	}
	return strings.Join(out, "\n")
}

func TestClaims(t *testing.T) {
	with := func(change func(*Affiliate)) Affiliate {
		a := Affiliate{}
		change(&a)
		return a
	}
	networks := func(list ...string) Affiliate {
		return with(func(a *Affiliate) { a.KubeSpan.AdditionalAddresses = prefixes(list...) })
	}
	for _, c := range []struct {
		name      string
		affiliate Affiliate
		filters   []string
		endpoints string
		working   string
		want      string
	}{
		{name: "a mesh address, addresses and networks", affiliate: *peer(1, addrs("10.9.0.1"), "10.8.0.0/16", "10.9.0.1/32"),
			want: "10.8.0.0/16 network\n10.9.0.1/32 own address\nfd00::1/128 mesh address"},
		{name: "what is excluded is left out", affiliate: with(func(a *Affiliate) {
			a.Addresses = addrs("10.9.0.1")
			a.KubeSpan.AdditionalAddresses, a.KubeSpan.ExcludeAdvertisedNetworks = prefixes("10.8.0.0/16"), prefixes("10.8.128.0/17", "10.9.0.0/24")
		}), want: "10.8.0.0/17 network"},
		{name: "an IPv4 network written as IPv6", affiliate: networks("::ffff:1.2.3.0/120"), want: "1.2.3.0/24 network"},
		{name: "more than IPv4 written as IPv6", affiliate: networks("::ffff:0:0/95"), want: "::fffe:0:0/96 network of /95"},
		{name: "special networks", affiliate: networks("224.0.0.0/4", "169.254.0.0/16", "fe80::/10", "127.0.0.0/8", "::1/128", "0.0.0.0/8", "::/128", "ff02::/16", "255.255.255.255/32"),
			want: "224.0.0.0/4 is multicast\n169.254.0.0/16 is link-local\nfe80::/10 is link-local\n127.0.0.0/8 is loopback\n::1/128 is loopback\n" +
				"0.0.0.0/8 is unspecified\n::/128 is unspecified\nff02::/16 is multicast\n255.255.255.255/32 is broadcast"},
		{name: "special addresses", affiliate: Affiliate{Addresses: addrs("224.0.0.1", "fe80::1%eth0", "::ffff:127.0.0.1", "fd07::1%x")},
			want: "224.0.0.1/32 is multicast\nfe80::1/128 has a zone, which is valid on one machine only\n::ffff:127.0.0.1/128 is loopback\nfd07::1/128 has a zone, which is valid on one machine only"},
		{name: "default routes and their halves", affiliate: networks("0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "2000::/3"),
			want: "0.0.0.0/0 is a default route, which only filters.peerNetworks lets in\n::/0 is a default route, which only filters.peerNetworks lets in\n" +
				"0.0.0.0/1 is a default route, which only filters.peerNetworks lets in\n128.0.0.0/1 is a default route, which only filters.peerNetworks lets in\n" +
				"2000::/3 is a default route, which only filters.peerNetworks lets in"},
		{name: "a default route of the config's filter, of one IP version", affiliate: networks("::/0", "10.8.0.0/16"), filters: []string{"::/0"},
			want: "10.8.0.0/16 is not in filters.peerNetworks", endpoints: "ignore"},
		{name: "an excluded network, and a wider one", affiliate: networks("10.8.0.0/24", "10.8.0.0/22"), filters: []string{"10.8.0.0/16", "!10.8.0.0/23"},
			want: "10.8.2.0/23 network of /22\n10.8.0.0/24 is refused by !10.8.0.0/23 in filters.peerNetworks"},
		{name: "an exclusion alone lets nothing in", affiliate: networks("10.9.0.0/24"), filters: []string{"!10.8.0.0/23"},
			want: "10.9.0.0/24 is not in filters.peerNetworks"},
		{name: "a part of what is excluded is included again", affiliate: networks("10.8.0.0/22", "10.8.1.0/25"), filters: []string{"10.8.0.0/16", "!10.8.0.0/23", "10.8.1.0/24"},
			want: "10.8.1.0/24 network of /22\n10.8.1.0/25 network\n10.8.2.0/23 network of /22"},
		{name: "an inclusion after an exclusion", affiliate: networks("10.8.0.0/22"), filters: []string{"!10.8.0.0/23", "10.8.0.0/16"},
			want: "10.8.0.0/22 network"},
		{name: "this machine's own addresses", affiliate: Affiliate{Addresses: addrs("10.0.0.1", "192.0.2.53", "172.17.0.1", "fd00::63")},
			want: "10.0.0.1/32 is this machine's own address\n192.0.2.53/32 is this machine's own address\n172.17.0.1/32 is this machine's own address\nfd00::63/128 is this machine's own address"},
		{name: "a network with an own address in it", affiliate: networks("192.0.2.52/31"), want: "192.0.2.52/32 network of /31"},
		{name: "a network of this machine, parts of it, and around it",
			affiliate: networks("10.0.0.0/24", "10.0.0.128/25", "10.0.0.0/23", "172.17.5.0/24"),
			want: "10.0.1.0/24 network of /23\n10.0.0.0/24 does not take 10.0.0.0/24, the network of the link eth0\n" +
				"10.0.0.128/25 does not take 10.0.0.0/24, the network of the link eth0\n10.0.0.0/23 does not take 10.0.0.0/24, the network of the link eth0\n" +
				"172.17.5.0/24 does not take 172.17.0.0/16, the network of the link docker0"},
		{name: "a gateway outside of any network", affiliate: networks("198.51.100.0/31"),
			want: "198.51.100.0/32 network of /31\n198.51.100.0/31 does not take 198.51.100.1/32, the gateway of the link wan"},
		{name: "an address in a network of this machine, of a peer elsewhere", affiliate: Affiliate{Addresses: addrs("10.0.0.6")}, endpoints: "10.0.0.6:1", working: "203.0.113.1:1",
			want: "10.0.0.6/32 is in 10.0.0.0/24, the network of the link eth0, and the peer is not reached there"},
		{name: "of a peer that was never reached, without an endpoint there", affiliate: Affiliate{Addresses: addrs("10.0.0.6")}, endpoints: "203.0.113.1:1",
			want: "10.0.0.6/32 is in 10.0.0.0/24, the network of the link eth0, and the peer is not reached there"},
		{name: "of a peer that was never reached, with an endpoint there", affiliate: Affiliate{Addresses: addrs("10.0.0.6")}, endpoints: "10.0.0.6:1",
			want: "10.0.0.6/32 own address"},
		{name: "of both IP versions, of a peer that is reached over one", affiliate: Affiliate{Addresses: addrs("10.0.0.6", "2001:db8::6")}, endpoints: "203.0.113.1:1", working: "10.0.0.6:1",
			want: "10.0.0.6/32 own address\n2001:db8::6/128 own address"},
		{name: "the gateway of this machine, as an address", affiliate: Affiliate{Addresses: addrs("10.0.0.254", "198.51.100.1")}, endpoints: "10.0.0.254:1",
			want: "10.0.0.254/32 is the gateway of the link eth0\n198.51.100.1/32 is the gateway of the link wan"},
		{name: "a gateway that is a peer", affiliate: Affiliate{Addresses: addrs("10.0.0.254")}, working: "10.0.0.254:1", want: "10.0.0.254/32 own address"},
		{name: "the broadcast address of a network of this machine", affiliate: Affiliate{Addresses: addrs("10.0.0.255", "10.0.0.0")}, working: "10.0.0.6:1",
			want: "10.0.0.255/32 is not the address of a machine in 10.0.0.0/24\n10.0.0.0/32 is not the address of a machine in 10.0.0.0/24"},
		{name: "an address that the config gives to a peer", affiliate: Affiliate{Addresses: addrs("10.0.0.77"), Static: true}, want: "10.0.0.77/32 own address"},
		{name: "a default route that the config gives to a peer", affiliate: with(func(a *Affiliate) {
			a.KubeSpan.AdditionalAddresses, a.Configured = prefixes("2000::/3"), prefixes("2000::/3")
		}), endpoints: "ignore", want: "2000::/3 does not take 2001:db8::/64, the network of the link eth0"},
		{name: "a network that this machine advertises too", affiliate: networks("10.99.0.0/24", "10.99.0.0/25"), want: "10.99.0.0/25 network"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, host, k := home(c.filters...)
			territory := NewTerritory(id, host, &k, prefixes("10.99.0.0/24"))
			var endpoints []netip.AddrPort
			ignorePieces := c.endpoints == "ignore"
			if c.endpoints != "" && !ignorePieces {
				endpoints = addrPorts(c.endpoints)
			}
			var working netip.AddrPort
			if c.working != "" {
				working = netip.MustParseAddrPort(c.working)
			}
			claims, refusals := territory.Claims(&c.affiliate, endpoints, working)
			if ignorePieces {
				claims = nil
				refusals = slices.DeleteFunc(refusals, func(r Refusal) bool { return r.Prefix.Bits() == 0 })
			}
			if diff := cmp.Diff(c.want, show(claims, refusals)); diff != "" {
				t.Errorf("claims and refusals (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRouteConnectedNetworks(t *testing.T) {
	id, host, k := home()
	k.RouteConnectedNetworks = prefixes("10.0.0.0/24")
	territory := NewTerritory(id, host, &k, nil)
	claims, refusals := territory.Claims(&Affiliate{Addresses: addrs("10.0.0.6", "10.0.0.1"), KubeSpan: KubeSpan{AdditionalAddresses: prefixes("10.0.0.0/24")}},
		nil, netip.MustParseAddrPort("203.0.113.1:1"))
	contains := func(text string) bool {
		address := netip.MustParseAddr(text)
		return slices.ContainsFunc(claims, func(c Claim) bool { return c.Prefix.Contains(address) })
	}
	if !contains("10.0.0.6") || !contains("10.0.0.9") {
		t.Errorf("the network of the config is not routed: %v", claims)
	}
	if contains("10.0.0.1") || contains("10.0.0.254") {
		t.Errorf("an own address or the gateway is routed: %v", claims)
	}
	if len(refusals) != 2 {
		t.Errorf("refused is %v, want the own address and the gateway", refusals)
	}
	k.RouteConnectedNetworks = prefixes("10.0.0.254/32")
	claims, refusals = NewTerritory(id, host, &k, nil).Claims(&Affiliate{Addresses: addrs("10.0.0.254", "10.0.0.6")}, nil, netip.MustParseAddrPort("203.0.113.1:1"))
	if !contains("10.0.0.254") || contains("10.0.0.6") || len(refusals) != 1 {
		t.Errorf("with the gateway's address in the config, the claims are %v, refused is %v", claims, refusals)
	}
}

// TestRenamedMeshLinkIsNoLAN has the mesh's link under another name, with the addresses of the
// config.
func TestRenamedMeshLinkIsNoLAN(t *testing.T) {
	id, host, k := home()
	host.Connected = append(host.Connected, Connected{"renamed", id.Subnet}, Connected{"renamed", prefixes("10.99.0.0/24")[0]})
	claims, refusals := NewTerritory(id, host, &k, nil).Claims(&Affiliate{Addresses: addrs("10.99.0.2")}, nil, netip.AddrPort{})
	if len(claims) != 1 || len(refusals) > 0 {
		t.Errorf("claims are %v, refused is %v", claims, refusals)
	}
}

// TestPiecesGoToTheLongestNetwork compares with the definition: an address that does not stay
// local belongs to the longest network that was claimed.
func TestPiecesGoToTheLongestNetwork(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }
	network := func(least int) netip.Prefix {
		p, _ := at(random.IntN(64)).Prefix(least + random.IntN(33-least))
		return p
	}
	for range 2000 {
		host := Host{}
		for range random.IntN(3) {
			host.Connected = append(host.Connected, Connected{"eth0", network(27)})
		}
		territory := NewTerritory(Identity{}, host, &schema.KubeSpan{}, nil)
		var claimed []netip.Prefix
		var pieces []Claim
		for range 1 + random.IntN(5) {
			n := network(26)
			claimed = append(claimed, n)
			got, _ := territory.Claims(&Affiliate{KubeSpan: KubeSpan{AdditionalAddresses: []netip.Prefix{n}}}, nil, netip.AddrPort{})
			pieces = append(pieces, got...)
		}
		for i := range 64 {
			local := slices.ContainsFunc(host.Connected, func(c Connected) bool { return c.Prefix.Contains(at(i)) })
			want, got := -1, Claim{}
			for _, n := range claimed {
				if n.Contains(at(i)) && !local {
					want = max(want, n.Bits())
				}
			}
			found := -1
			for _, c := range pieces {
				if c.Prefix.Contains(at(i)) && (found < 0 || c.Prefix.Bits() > got.Prefix.Bits() || c.Prefix == got.Prefix && c.Length > got.Length) {
					got, found = c, int(c.Length)
				}
			}
			if found != want {
				t.Fatalf("%s belongs to a /%d, want a /%d, of %v without %v", at(i), found, want, claimed, host.Connected)
			}
		}
	}
}

func BenchmarkClaims(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			affiliates := manyAffiliates(n)
			id, host, k := home()
			territory := NewTerritory(id, host, &k, nil)
			b.ReportAllocs()
			for b.Loop() {
				for i := range affiliates {
					territory.Claims(affiliates[i], affiliates[i].KubeSpan.Endpoints, netip.AddrPort{})
				}
			}
		})
	}
}

// TestClaimsAreLimited has networks and exclusions that come to millions of prefixes.
func TestClaimsAreLimited(t *testing.T) {
	id, host, k := home()
	l := NewTerritory(id, host, &k, nil)
	hostile := peer(1, addrs("10.9.0.1"), "10.8.0.0/16")
	for i := range 500 {
		excluded := netip.AddrFrom16([16]byte{0x30, byte(i >> 6), byte(i << 2), 7, 15: 1})
		hostile.KubeSpan.ExcludeAdvertisedNetworks = append(hostile.KubeSpan.ExcludeAdvertisedNetworks, netip.PrefixFrom(excluded, 128))
		network, _ := netip.AddrFrom16([16]byte{0x30, byte(i)}).Prefix(4 + i%12)
		hostile.KubeSpan.AdditionalAddresses = append(hostile.KubeSpan.AdditionalAddresses, network)
	}
	claims, refusals := l.Claims(hostile, nil, netip.AddrPort{})
	if got, want := show(claims, nil), "10.8.0.0/16 network\n10.9.0.1/32 own address\nfd00::1/128 mesh address"; got != want {
		t.Errorf("%d claims, the first are\n%.200s\nwant\n%s", len(claims), got, want)
	}
	if len(refusals) != 500 || !strings.Contains(refusals[0].Reason, "more than 8192 prefixes") {
		t.Errorf("%d refusals: %.200v", len(refusals), refusals)
	}

	many := peer(2, nil)
	for i := range 20000 {
		many.KubeSpan.AdditionalAddresses = append(many.KubeSpan.AdditionalAddresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 0}), 24))
	}
	if claims, _ := l.Claims(many, nil, netip.AddrPort{}); len(claims) != maxPieces+1 {
		t.Errorf("of a peer with 20,000 networks: %d claims", len(claims))
	}
	many.Static = true
	if claims, _ := l.Claims(many, nil, netip.AddrPort{}); len(claims) != 20001 {
		t.Errorf("of a static peer with 20,000 networks: %d claims", len(claims))
	}
}
