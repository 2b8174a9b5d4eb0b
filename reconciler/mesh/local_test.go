package mesh

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/schema"
)

func TestLocalAffiliate(t *testing.T) {
	id := Identity{NodeID: "self", PublicKey: Key{1}, Subnet: netip.MustParsePrefix("fd00:0:0:2::/64"), Address: netip.MustParsePrefix("fd00:0:0:2::1/128")}
	// A mesh link by another name would have an address in the subnet.
	host := Host{Hostname: "h", OperatingSystem: "os", Addresses: addrs("10.0.0.1", "fd00:0:0:2::1", "192.168.1.1", "2001:db8::1")}
	config := schema.KubeSpan{
		Enabled:    true,
		ListenPort: 51820,
		Filters: schema.Filters{
			Endpoints:                 []schema.Filter{{Prefix: netip.MustParsePrefix("192.168.0.0/16"), Exclude: true}},
			ExcludeAdvertisedNetworks: prefixes("10.9.0.0/16"),
		},
		AdvertisedNetworks:      prefixes("10.8.1.0/16"),
		Addresses:               prefixes("10.99.0.1/24"),
		ExtraAnnouncedEndpoints: addrPorts("203.0.113.1:4000", "10.0.0.1:51820"),
	}
	want := Affiliate{
		NodeID: "self", Hostname: "h", Nodename: "h", MachineType: MachineTypeWorker, OperatingSystem: "os",
		Addresses: addrs("10.0.0.1", "192.168.1.1", "2001:db8::1", "10.99.0.1"),
		KubeSpan: KubeSpan{
			PublicKey: Key{1}, Address: netip.MustParseAddr("fd00:0:0:2::1"),
			AdditionalAddresses:       prefixes("10.8.0.0/16", "10.99.0.1/32"),
			ExcludeAdvertisedNetworks: prefixes("10.9.0.0/16"),
			Endpoints: addrPorts("10.0.0.1:51820", "[2001:db8::1]:51820", "198.51.100.7:51820",
				"203.0.113.1:4000"),
		},
	}
	got, _ := LocalAffiliate(id, &config, host, addrs("198.51.100.7", "10.0.0.1"), Node{})
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("affiliate (-want +got):\n%s", diff)
	}

	t.Run("without KubeSpan its part is not published", func(t *testing.T) {
		config.Enabled = false
		if got, _ := LocalAffiliate(id, &config, host, nil, Node{}); !got.KubeSpan.IsZero() || got.Nodename != "h" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestPasses(t *testing.T) {
	for _, c := range []struct {
		name    string
		filters []string
		pass    []string
		stop    []string
	}{
		{"without a filter all pass", nil, []string{"10.0.0.1", "2001:db8::1"}, nil},
		{"including some excludes the rest", []string{"10.0.0.0/8"}, []string{"10.0.0.1"}, []string{"192.168.0.1", "2001:db8::1"}},
		{"excluding some includes the rest", []string{"!10.0.0.0/8"}, []string{"192.168.0.1", "2001:db8::1"}, []string{"10.0.0.1"}},
		{"an exclusion wins over an inclusion, in either order", []string{"!10.1.0.0/16", "10.0.0.0/8"}, []string{"10.0.0.1"}, []string{"10.1.0.1", "11.0.0.1"}},
		{"an exclusion wins over a more specific inclusion", []string{"10.1.0.0/24", "!10.1.0.0/16"}, nil, []string{"10.1.0.1"}},
		{"one IP version can be left out", []string{"0.0.0.0/0"}, []string{"10.0.0.1"}, []string{"2001:db8::1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var filters []schema.Filter
			for _, text := range c.filters {
				var f schema.Filter
				if err := f.UnmarshalText([]byte(text)); err != nil {
					t.Fatal(err)
				}
				filters = append(filters, f)
			}
			for want, list := range map[bool][]string{true: c.pass, false: c.stop} {
				for _, address := range addrs(list...) {
					if passes(filters, address) != want {
						t.Errorf("%s passes: %v", address, !want)
					}
				}
			}
		})
	}
}
