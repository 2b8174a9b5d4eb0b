package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/schema"
)

// sequence returns n addresses that follow each other.
func sequence(first string, n int) []netip.Addr {
	list := []netip.Addr{netip.MustParseAddr(first)}
	for len(list) < n {
		list = append(list, list[len(list)-1].Next())
	}
	return list[:n]
}

func TestTheBestEndpointsAreAnnounced(t *testing.T) {
	config := schema.KubeSpan{Enabled: true, ListenPort: 51820}
	extra := config
	for i := range 4 {
		extra.ExtraAnnouncedEndpoints = append(extra.ExtraAnnouncedEndpoints, netip.MustParseAddrPort(fmt.Sprintf("203.0.113.%d:1", i)))
	}
	wide := config
	for i := range 64 {
		wide.AdvertisedNetworks = append(wide.AdvertisedNetworks, netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, byte(i)}), 64))
	}
	uplink, public, private, carrier := sequence("10.0.0.1", 4), sequence("198.51.100.1", 40), sequence("10.9.0.1", 40), sequence("100.64.0.1", 40)
	for _, c := range []struct {
		name      string
		config    schema.KubeSpan
		addresses []netip.Addr
		onDefault int
		seen      []netip.Addr
		// has are announced as endpoints, lacks are not.
		has, lacks           []netip.Addr
		endpoints, addressed int
		conditions           int
	}{
		{"64 addresses", config, sequence("10.0.0.1", 64), 64, nil, sequence("10.0.0.1", 64), nil, 64, 64, 0},
		{"71 addresses of the default route's link", config, sequence("10.0.0.1", 71), 71, nil, sequence("10.0.0.1", 64), sequence("10.0.0.65", 7), 64, 64, 2},
		{"the default route's link and public addresses come first", config, slices.Concat(uplink, carrier, private, public), 4, nil,
			slices.Concat(uplink, public, private[:20]), slices.Concat(private[20:], carrier), 64, 64, 2},
		{"both families have their share", config, slices.Concat(sequence("10.0.0.1", 200), sequence("2001:db8::1", 1)), 201, nil,
			sequence("2001:db8::1", 1), nil, 64, 64, 2},
		{"what others see is announced", config, sequence("10.0.0.1", 100), 100, sequence("198.51.100.1", 1), sequence("198.51.100.1", 1), nil, 64, 64, 2},
		{"extra endpoints are never left out", extra, sequence("10.0.0.1", 64), 64, nil, sequence("203.0.113.0", 4), sequence("10.0.0.61", 4), 64, 64, 1},
		{"networks leave less room for addresses", wide, sequence("2001:db8::1", 64), 64, nil, sequence("2001:db8::1", 64), nil, 64, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, found := LocalAffiliate(Identity{}, &c.config, Host{Addresses: c.addresses, OnDefault: c.onDefault}, c.seen, Outside{}, Node{})
			if len(a.KubeSpan.Endpoints) != c.endpoints || len(a.Addresses) != c.addressed || len(found) != c.conditions {
				t.Errorf("%d endpoints, %d addresses, %d conditions: want %d, %d, %d", len(a.KubeSpan.Endpoints), len(a.Addresses), len(found),
					c.endpoints, c.addressed, c.conditions)
			}
			announced := map[netip.Addr]bool{}
			for _, e := range a.KubeSpan.Endpoints {
				announced[e.Addr()] = true
			}
			for _, address := range c.has {
				if !announced[address] {
					t.Errorf("%s is not announced", address)
				}
			}
			for _, address := range c.lacks {
				if announced[address] {
					t.Errorf("%s is announced", address)
				}
			}
			for _, f := range found {
				if f.Code != condition.TooManyEndpoints || f.Remedy == "" {
					t.Errorf("condition %v", f)
				}
			}
		})
	}
}
