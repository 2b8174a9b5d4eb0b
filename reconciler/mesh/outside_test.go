package mesh_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// TestOutsideEndpoints has what a machine announces of what a NAT gives it.
func TestOutsideEndpoints(t *testing.T) {
	mapped := func(kind mesh.NAT, address string, ports ...uint16) mesh.Mapping {
		return mesh.Mapping{Kind: kind, Address: netip.MustParseAddr(address), Ports: ports}
	}
	filter := func(text string) (f schema.Filter) {
		if err := f.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return f
	}
	both := mesh.Outside{IPv4: mapped(mesh.NATIndependent, "203.0.113.9", 40000), IPv6: mapped(mesh.NATIndependent, "2001:db8::9", 50000)}
	router := []mesh.PortMapping{{Endpoint: netip.MustParseAddrPort("203.0.113.9:40001"), Protocol: "PCP"}}
	for _, c := range []struct {
		name    string
		outside mesh.Outside
		seen    []string
		config  schema.KubeSpan
		want    []string
	}{
		{"none", mesh.Outside{}, nil, schema.KubeSpan{}, nil},
		{"of both IP versions", both, nil, schema.KubeSpan{}, []string{"203.0.113.9:40000", "[2001:db8::9]:50000"}},
		{"before the guess that the port stays", both, []string{"203.0.113.9"}, schema.KubeSpan{}, []string{"203.0.113.9:40000", "203.0.113.9:51820", "[2001:db8::9]:50000"}},
		{"the port stays", mesh.Outside{IPv4: mapped(mesh.NATIndependent, "203.0.113.9", 51820)}, []string{"203.0.113.9"}, schema.KubeSpan{}, []string{"203.0.113.9:51820"}},
		{"a filter refuses it", both, nil, schema.KubeSpan{Filters: schema.Filters{Endpoints: []schema.Filter{filter("192.168.0.0/16"), filter("2001:db8::/32")}}}, []string{"[2001:db8::9]:50000"}},
		{"what the router maps first", mesh.Outside{IPv4: both.IPv4, Router: router}, nil, schema.KubeSpan{}, []string{"203.0.113.9:40001", "203.0.113.9:40000"}},
		{"what the router maps and servers see, once", mesh.Outside{IPv4: mapped(mesh.NATIndependent, "203.0.113.9", 40001), Router: router}, nil, schema.KubeSpan{}, []string{"203.0.113.9:40001"}},
		{"what the router maps, though the NAT gives others to others", mesh.Outside{IPv4: mapped(mesh.NATDependent, "203.0.113.9"), Router: router}, []string{"203.0.113.9"}, schema.KubeSpan{},
			[]string{"203.0.113.9:40001", "203.0.113.9:51820"}},
		{"what the router maps, but a filter refuses it", mesh.Outside{Router: router}, nil, schema.KubeSpan{Filters: schema.Filters{Endpoints: []schema.Filter{filter("192.168.0.0/16")}}}, nil},
		{"another port for each destination", mesh.Outside{IPv4: mapped(mesh.NATDependent, "203.0.113.9")}, nil, schema.KubeSpan{}, nil},
		{"not known", mesh.Outside{IPv4: mapped(mesh.NATUnknown, "203.0.113.9", 40000)}, nil, schema.KubeSpan{}, nil},
		{"no NAT", mesh.Outside{IPv4: mapped(mesh.NATNone, "192.168.1.5")}, nil, schema.KubeSpan{}, nil},
		{"an address of the mesh", mesh.Outside{IPv6: mapped(mesh.NATIndependent, "fd00::7", 40000)}, nil, schema.KubeSpan{}, nil},
		{"an address of the config's networks", mesh.Outside{IPv4: mapped(mesh.NATIndependent, "10.99.0.7", 40000)}, nil,
			schema.KubeSpan{Addresses: []netip.Prefix{netip.MustParsePrefix("10.99.0.1/24")}}, nil},
		{"an address of no machine", mesh.Outside{IPv4: mapped(mesh.NATIndependent, "127.0.0.1", 40000)}, nil, schema.KubeSpan{}, nil},
		{"what the config announces", both, nil, schema.KubeSpan{ExtraAnnouncedEndpoints: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.9:40000")}}, []string{"203.0.113.9:40000", "[2001:db8::9]:50000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Enabled, c.config.ListenPort = true, 51820
			own := netip.MustParseAddr("192.168.1.5")
			var seen []netip.Addr
			for _, text := range c.seen {
				seen = append(seen, netip.MustParseAddr(text))
			}
			a, _ := mesh.LocalAffiliate(mesh.Identity{Subnet: netip.MustParsePrefix("fd00::/64")}, &c.config, mesh.Host{Addresses: []netip.Addr{own}}, seen, c.outside, mesh.Node{})
			var got []string
			for _, e := range a.KubeSpan.Endpoints {
				if e.Addr() != own {
					got = append(got, e.String())
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("announces %v, want %v", got, c.want)
			}
		})
	}
}

// TestOr prefers what servers show to what peers see.
func TestOr(t *testing.T) {
	peers := mesh.Mapping{Address: netip.MustParseAddr("203.0.113.9"), Ports: []uint16{1, 2}}
	shown := mesh.Mapping{Kind: mesh.NATIndependent, Address: netip.MustParseAddr("203.0.113.9"), Ports: []uint16{3}}
	vague := mesh.Mapping{Address: netip.MustParseAddr("203.0.113.9"), Ports: []uint16{3}}
	for _, c := range []struct{ servers, peers, want mesh.Mapping }{
		{shown, peers, shown}, {vague, peers, peers}, {vague, mesh.Mapping{}, vague}, {mesh.Mapping{}, peers, peers},
	} {
		if got := (mesh.Outside{IPv4: c.servers}).Or(c.peers); !got.Equal(c.want) {
			t.Errorf("%+v or %+v is %+v", c.servers, c.peers, got)
		}
	}
	if !peers.PerPeer() || shown.PerPeer() || !(mesh.Mapping{Kind: mesh.NATDependent}).PerPeer() {
		t.Error("PerPeer is not what the kinds say")
	}
}
