package mesh

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/spanmesh/span/schema"
)

func endpointsOf(list ...string) (all []netip.AddrPort) {
	for _, text := range list {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

func TestOfferRelay(t *testing.T) {
	for _, c := range []struct {
		name            string
		key             Key
		announced, want []netip.AddrPort
	}{
		{"no relay", Key{}, endpointsOf("192.0.2.1:51820"), nil},
		{"no address", Key{1}, nil, nil},
		{"public addresses first, each once", Key{1}, endpointsOf("10.0.0.1:51820", "192.0.2.1:51820", "192.0.2.1:40000", "[2001:db8::1]:51820"),
			endpointsOf("192.0.2.1:51821", "[2001:db8::1]:51821", "10.0.0.1:51821")},
		{"at most four", Key{1}, endpointsOf("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1", "10.0.0.5:1"),
			endpointsOf("10.0.0.1:51821", "10.0.0.2:51821", "10.0.0.3:51821", "10.0.0.4:51821")},
	} {
		if o := OfferRelay(c.key, 51821, c.announced); !slices.Equal(o.Endpoints, c.want) || o.IsZero() != (c.want == nil) {
			t.Errorf("%s: %+v", c.name, o)
		}
	}
}

func TestOfferedRelays(t *testing.T) {
	self := Key{9}
	member := func(k byte, name string, relay byte, endpoints ...string) PeerSpec {
		return PeerSpec{PublicKey: Key{k}, NodeID: name, Name: name, Offer: RelayOffer{Key{relay}, endpointsOf(endpoints...)}}
	}
	filter := NewEndpointFilter(Identity{Subnet: netip.MustParsePrefix("fd00::/64")}, Host{Own: []netip.Addr{netip.MustParseAddr("192.0.2.9")}}, &schema.KubeSpan{})
	for _, c := range []struct {
		name  string
		specs []PeerSpec
		// want are the names, sorted, and ends all endpoints.
		want []string
		ends []netip.AddrPort
	}{
		{"none", []PeerSpec{{PublicKey: Key{1}}}, nil, nil},
		{"two", []PeerSpec{member(1, "a", 11, "192.0.2.1:51821"), member(2, "b", 12, "192.0.2.2:51821")}, []string{"a", "b"},
			endpointsOf("192.0.2.1:51821", "192.0.2.2:51821")},
		{"in the mesh, at this machine, and nowhere", []PeerSpec{member(1, "a", 11, "[fd00::1]:51821"), member(2, "b", 12, "192.0.2.9:51821"), member(3, "c", 13)}, nil, nil},
		{"the key of this machine, and of another", []PeerSpec{member(1, "a", 9, "192.0.2.1:51821"), member(2, "b", 1, "192.0.2.2:51821")}, nil, nil},
		{"one key of two members is one relay at all endpoints", []PeerSpec{member(1, "b", 11, "192.0.2.1:51821"), member(2, "a", 11, "192.0.2.2:51821")}, []string{"a"},
			endpointsOf("192.0.2.1:51821", "192.0.2.2:51821")},
	} {
		t.Run(c.name, func(t *testing.T) {
			var names []string
			var ends []netip.AddrPort
			for _, r := range OfferedRelays(self, nil, filter, c.specs) {
				names, ends = append(names, r.Name), append(ends, r.Endpoints...)
				if !r.Member {
					t.Error("it is not marked as a member's")
				}
			}
			slices.Sort(names)
			slices.SortFunc(ends, netip.AddrPort.Compare)
			if !slices.Equal(names, c.want) || !slices.Equal(ends, c.ends) {
				t.Errorf("%v at %v", names, ends)
			}
		})
	}
}

// TestOfferedRelaysHaveOneOrder has two machines that know each other by other keys.
func TestOfferedRelaysHaveOneOrder(t *testing.T) {
	filter := NewEndpointFilter(Identity{Subnet: netip.MustParsePrefix("fd00::/64")}, Host{}, &schema.KubeSpan{})
	order := func(reverse bool) (keys []Key) {
		var specs []PeerSpec
		for i := range byte(20) {
			k := 100 + i
			if reverse {
				k = 200 - i
			}
			specs = append(specs, PeerSpec{PublicKey: Key{k}, NodeID: string(k), Offer: RelayOffer{Key{i + 1}, endpointsOf("192.0.2.1:51821")}})
		}
		slices.SortFunc(specs, func(a, b PeerSpec) int { return a.PublicKey.Compare(b.PublicKey) })
		for _, r := range OfferedRelays(Key{}, nil, filter, specs) {
			keys = append(keys, r.Key)
		}
		return keys
	}
	if one, other := order(false), order(true); len(one) != 20 || !slices.Equal(one, other) || slices.IsSortedFunc(one, Key.Compare) {
		t.Errorf("%v and %v", one, other)
	}
}
