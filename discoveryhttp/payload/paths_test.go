package payload

import (
	"net/netip"
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
		"a host of a relay": {Probes: true, NAT: mesh.NATNone, BlindRelay: mesh.HostedRelay{Key: mesh.Key{3},
			Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51821"), netip.MustParseAddrPort("[2001:db8::1]:51821")}}},
	} {
		var wire clientpb.KubeSpan
		encodePaths(&k, &wire)
		var got mesh.KubeSpan
		if err := decodePaths(&wire, &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(k, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
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
	for name, bad := range map[string]*clientpb.KubeSpan{
		"a short key":              {RegisteredRelays: [][]byte{key[1:]}},
		"a relay without key":      {BlindRelay: &clientpb.BlindRelay{}},
		"an endpoint without port": {BlindRelay: &clientpb.BlindRelay{PublicKey: key, Endpoints: []*clientpb.Endpoint{{Ip: []byte{192, 0, 2, 1}}}}},
		"a port too large":         {BlindRelay: &clientpb.BlindRelay{PublicKey: key, Endpoints: []*clientpb.Endpoint{{Ip: []byte{192, 0, 2, 1}, Port: 65536}}}},
		"an address of 5 bytes":    {BlindRelay: &clientpb.BlindRelay{PublicKey: key, Endpoints: []*clientpb.Endpoint{{Ip: make([]byte, 5), Port: 1}}}},
	} {
		if err := decodePaths(bad, new(mesh.KubeSpan)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestPathsFit has the largest that a machine publishes about paths, for which mesh leaves 256 bytes of
// the 2048 that discovery services take.
func TestPathsFit(t *testing.T) {
	k := mesh.KubeSpan{Probes: true, NAT: mesh.NATDependent, BlindRelay: mesh.HostedRelay{Key: mesh.Key{1}}}
	for i := range mesh.MaxRegistered {
		k.Registered = append(k.Registered, mesh.Key{byte(i)})
	}
	for range mesh.MaxRelayEndpoints {
		k.BlindRelay.Endpoints = append(k.BlindRelay.Endpoints, netip.MustParseAddrPort("[2001:db8::1]:65535"))
	}
	var wire clientpb.KubeSpan
	encodePaths(&k, &wire)
	if size := proto.Size(&wire); size > 256 {
		t.Errorf("%d bytes", size)
	} else {
		t.Logf("%d bytes", size)
	}
}
