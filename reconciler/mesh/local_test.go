package mesh

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/reconciler/condition"
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
			Endpoints: []schema.Filter{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}, {Prefix: netip.MustParsePrefix("::/0")},
				{Prefix: netip.MustParsePrefix("192.168.0.0/16"), Exclude: true}},
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
			Endpoints: addrPorts("10.0.0.1:51820", "198.51.100.7:51820", "[2001:db8::1]:51820",
				"203.0.113.1:4000"),
		},
	}
	got, _ := LocalAffiliate(id, &config, host, addrs("198.51.100.7", "10.0.0.1"), Outside{}, Node{})
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("affiliate (-want +got):\n%s", diff)
	}

	t.Run("without KubeSpan its part is not published", func(t *testing.T) {
		config.Enabled = false
		if got, _ := LocalAffiliate(id, &config, host, nil, Outside{}, Node{}); !got.KubeSpan.IsZero() || got.Nodename != "h" {
			t.Errorf("got %+v", got)
		}
	})
}

// TestAFilterThatPassesNothing announces addresses through filters.
func TestAFilterThatPassesNothing(t *testing.T) {
	only := schema.Filters{Endpoints: []schema.Filter{{Prefix: netip.MustParsePrefix("192.168.0.0/16"), Exclude: true}}}
	for _, c := range []struct {
		name      string
		config    schema.KubeSpan
		addresses []netip.Addr
		found     int
	}{
		{"an exclusion alone", schema.KubeSpan{Enabled: true, Filters: only}, addrs("10.0.0.1", "2001:db8::1"), 1},
		{"without a filter", schema.KubeSpan{Enabled: true}, addrs("10.0.0.1"), 0},
		{"without addresses", schema.KubeSpan{Enabled: true, Filters: only}, nil, 0},
		{"with other endpoints of the config", schema.KubeSpan{Enabled: true, Filters: only, ExtraAnnouncedEndpoints: addrPorts("203.0.113.1:1")}, addrs("10.0.0.1"), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, found := LocalAffiliate(Identity{Subnet: netip.MustParsePrefix("fd00::/64")}, &c.config, Host{Addresses: c.addresses}, nil, Outside{}, Node{})
			if len(found) != c.found || c.found == 1 && (found[0].Code != condition.FilterPassesNothing || len(a.KubeSpan.Endpoints) != 0) {
				t.Errorf("%d endpoints, conditions %v", len(a.KubeSpan.Endpoints), found)
			}
		})
	}
}
