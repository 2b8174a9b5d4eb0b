package payload

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/clientpb"
	"github.com/spanmesh/span/reconciler/mesh"
)

// TestPathsRoundTrip writes and reads what peers need to find a path.
func TestPathsRoundTrip(t *testing.T) {
	for name, k := range map[string]mesh.KubeSpan{
		"an earlier version":        {},
		"a kind that is unknown":    {Probes: true},
		"behind a NAT, with relays": {Probes: true, NAT: mesh.NATDependent, Registered: []mesh.Key{{1}, {2}}},
		"an agent":                  {KnowsRelays: true},
		"listed at relays": {Registered: []mesh.Key{{1}}, RelayEndpoints: []netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.1:51821"), netip.MustParseAddrPort("[2001:db8::1]:65535")}},
		"a relay": {Offer: mesh.RelayOffer{Key: mesh.Key{3}, Endpoints: []netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.1:51821"), netip.MustParseAddrPort("[2001:db8::1]:65535")}}},
		"a relay that is nowhere": {Offer: mesh.RelayOffer{Key: mesh.Key{3}}},
	} {
		var wire clientpb.KubeSpan
		encodePaths(&k, &wire)
		var got mesh.KubeSpan
		if err := decodePaths(&wire, &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(k, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestPathsOfOthers reads what no version of spanctl publishes.
func TestPathsOfOthers(t *testing.T) {
	key := make([]byte, mesh.KeySize)
	var got mesh.KubeSpan
	many := &clientpb.KubeSpan{Mapping: proto.Uint32(77), RegisteredRelays: [][]byte{key, key, key, key, key}}
	if err := decodePaths(many, &got); err != nil || !got.Probes || got.NAT != mesh.NATUnknown || len(got.Registered) != mesh.MaxRegistered {
		t.Errorf("got %+v, %v", got, err)
	}
	endpoint := &clientpb.Endpoint{Ip: []byte{192, 0, 2, 1}, Port: 1}
	offer := &clientpb.KubeSpan{BlindRelay: &clientpb.BlindRelay{PublicKey: key, Endpoints: slices.Repeat([]*clientpb.Endpoint{endpoint}, 100)}}
	if err := decodePaths(offer, &got); err != nil || len(got.Offer.Endpoints) != mesh.MaxOfferEndpoints {
		t.Errorf("got %+v, %v", got.Offer, err)
	}
	listed := &clientpb.KubeSpan{RelayEndpoints: slices.Repeat([]*clientpb.Endpoint{endpoint}, 100)}
	if err := decodePaths(listed, &got); err != nil || len(got.RelayEndpoints) != mesh.MaxRelayEndpoints {
		t.Errorf("got %+v, %v", got.RelayEndpoints, err)
	}
	relay := func(key []byte, ip []byte, port uint32) *clientpb.KubeSpan {
		return &clientpb.KubeSpan{BlindRelay: &clientpb.BlindRelay{PublicKey: key, Endpoints: []*clientpb.Endpoint{{Ip: ip, Port: port}}}}
	}
	for name, bad := range map[string]*clientpb.KubeSpan{
		"a relay without a key":                relay(nil, endpoint.GetIp(), 1),
		"a relay at an address that is none":   relay(key, []byte{1}, 1),
		"a relay at port 0":                    relay(key, endpoint.GetIp(), 0),
		"a relay at a port that is too large":  relay(key, endpoint.GetIp(), 1<<16),
		"a relay at an endpoint that is empty": {BlindRelay: &clientpb.BlindRelay{PublicKey: key, Endpoints: []*clientpb.Endpoint{nil}}},

		"an endpoint of a relay that is none":  {RelayEndpoints: []*clientpb.Endpoint{{Ip: []byte{1}, Port: 1}}},
		"an endpoint of a relay at port 0":     {RelayEndpoints: []*clientpb.Endpoint{{Ip: endpoint.GetIp()}}},
		"an endpoint of a relay that is empty": {RelayEndpoints: []*clientpb.Endpoint{nil}},

		"a short key": {RegisteredRelays: [][]byte{key[1:]}},
		"a long key":  {RegisteredRelays: [][]byte{append(key, 0)}},
	} {
		if err := decodePaths(bad, new(mesh.KubeSpan)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestPathsFit has the largest that a machine publishes about paths and its relay, for which mesh leaves
// 240 and 192 bytes of the 2048 that discovery services take.
func TestPathsFit(t *testing.T) {
	paths := mesh.KubeSpan{Probes: true, KnowsRelays: true, NAT: mesh.NATDependent}
	for i := range mesh.MaxRegistered {
		paths.Registered = append(paths.Registered, mesh.Key{byte(i)})
	}
	for range mesh.MaxRelayEndpoints {
		paths.RelayEndpoints = append(paths.RelayEndpoints, netip.MustParseAddrPort("[2001:db8::1]:65535"))
	}
	relay := mesh.KubeSpan{Offer: mesh.RelayOffer{Key: mesh.Key{1}}}
	for range mesh.MaxOfferEndpoints {
		relay.Offer.Endpoints = append(relay.Offer.Endpoints, netip.MustParseAddrPort("[2001:db8::1]:65535"))
	}
	for name, c := range map[string]struct {
		k    *mesh.KubeSpan
		room int
	}{"paths": {&paths, 240}, "relay": {&relay, 192}} {
		var wire clientpb.KubeSpan
		encodePaths(c.k, &wire)
		size := proto.Size(&wire)
		t.Logf("%s: %d bytes", name, size)
		if size > c.room {
			t.Errorf("%s: more than %d bytes", name, c.room)
		}
	}
}
