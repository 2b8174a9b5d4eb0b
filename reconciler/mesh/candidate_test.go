package mesh

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/spanmesh/span/schema"
)

func TestEndpointsAreVetted(t *testing.T) {
	v := NewEndpointFilter(Identity{Subnet: netip.MustParsePrefix("fd00::/64")},
		Host{Addresses: addrs("192.168.0.7"), Own: addrs("172.17.0.1"), Connected: []Connected{{Link: "eth1", Prefix: netip.MustParsePrefix("198.51.100.0/25")}}},
		&schema.KubeSpan{Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.0.1/24")},
			Filters: schema.Filters{PeerEndpoints: []schema.Filter{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}, {Prefix: netip.MustParsePrefix("::/0")},
				{Prefix: netip.MustParsePrefix("10.0.0.0/16"), Exclude: true}}}})
	for endpoint, want := range map[string]string{
		"192.168.0.8:1":             "",
		"[2001:db8::1]:51820":       "",
		"10.0.0.1:1":                "is excluded by filters.peerEndpoints",
		"192.168.0.7:1":             "is this machine's own",
		"172.17.0.1:1":              "is this machine's own",
		"[::ffff:192.168.0.7]:1":    "is this machine's own",
		"[fd00::5]:1":               "is inside the mesh",
		"10.7.0.9:1":                "is inside the mesh",
		"198.51.100.127:1":          "is the broadcast address of a network here",
		"198.51.100.255:1":          "",
		"255.255.255.255:1":         "is broadcast",
		"127.0.0.1:1":               "is loopback",
		"[::1]:1":                   "is loopback",
		"[::ffff:127.0.0.1]:1":      "is loopback",
		"0.0.0.0:1":                 "is unspecified",
		"[::]:1":                    "is unspecified",
		"224.0.0.1:1":               "is multicast",
		"[ff02::1]:1":               "is multicast",
		"169.254.1.1:1":             "is link-local",
		"[fe80::1]:1":               "is link-local",
		"192.0.2.1:0":               "has no port",
		"[::ffff:198.51.100.3]:777": "",
	} {
		e, err := netip.ParseAddrPort(endpoint)
		if err != nil {
			continue // a text that no registry takes
		}
		spec := PeerSpec{Endpoints: []netip.AddrPort{e}}
		v.Filter(&spec)
		switch {
		case want == "" && len(spec.Endpoints) == 1 && len(spec.Refused) == 0 && !spec.Endpoints[0].Addr().Is4In6():
		case want != "" && len(spec.Endpoints) == 0 && len(spec.Refused) == 1 && spec.Refused[0].Reason == want:
		default:
			t.Errorf("%s: endpoints %v, refused %v, want %q", endpoint, spec.Endpoints, spec.Refused, want)
		}
	}
}

func TestEndpointsOfAPeerAreBounded(t *testing.T) {
	v := NewEndpointFilter(Identity{Subnet: netip.MustParsePrefix("fd00::/64")}, Host{}, &schema.KubeSpan{})
	var spec PeerSpec
	for _, a := range append(sequence("10.0.0.1", 200), netip.MustParseAddr("198.51.100.1")) {
		spec.Endpoints = append(spec.Endpoints, netip.AddrPortFrom(a, 51820))
	}
	v.Filter(&spec)
	if len(spec.Endpoints) != MaxEndpoints || len(spec.Refused) != 201-MaxEndpoints {
		t.Errorf("%d endpoints, %d refused", len(spec.Endpoints), len(spec.Refused))
	}
	if !slices.Contains(spec.Endpoints, netip.MustParseAddrPort("198.51.100.1:51820")) {
		t.Error("the public endpoint is not among those to try")
	}
}

func TestNoPeerEndpoint(t *testing.T) {
	filtered := &schema.KubeSpan{Filters: schema.Filters{PeerEndpoints: []schema.Filter{{Prefix: netip.MustParsePrefix("10.0.0.0/16"), Exclude: true}}}}
	for _, c := range []struct {
		name      string
		config    *schema.KubeSpan
		endpoints []string
		want      int
	}{
		{"all endpoints of all peers are filtered", filtered, []string{"192.168.0.8:1", "10.0.0.1:1"}, 1},
		{"endpoints that no filter is about", filtered, []string{"127.0.0.1:1"}, 0},
		{"no endpoints", filtered, nil, 0},
		{"no filter", &schema.KubeSpan{}, []string{"192.168.0.8:1"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			filter := NewEndpointFilter(Identity{Subnet: netip.MustParsePrefix("fd00::/64")}, Host{}, c.config)
			var specs []PeerSpec
			for _, e := range c.endpoints {
				spec := PeerSpec{Endpoints: addrPorts(e)}
				filter.Filter(&spec)
				specs = append(specs, spec)
			}
			if found := NoPeerEndpoint(c.config, specs); len(found) != c.want {
				t.Errorf("got %v", found)
			}
		})
	}
}
