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
	} {
		var wire clientpb.KubeSpan
		encodePaths(&k, &wire)
		var got mesh.KubeSpan
		if err := decodePaths(&wire, &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(k, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
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
		"a short key": {RegisteredRelays: [][]byte{key[1:]}},
		"a long key":  {RegisteredRelays: [][]byte{append(key, 0)}},
	} {
		if err := decodePaths(bad, new(mesh.KubeSpan)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestPathsFit has the largest that a machine publishes about paths, for which mesh leaves 128 bytes of
// the 2048 that discovery services take.
func TestPathsFit(t *testing.T) {
	k := mesh.KubeSpan{Probes: true, NAT: mesh.NATDependent}
	for i := range mesh.MaxRegistered {
		k.Registered = append(k.Registered, mesh.Key{byte(i)})
	}
	var wire clientpb.KubeSpan
	encodePaths(&k, &wire)
	if size := proto.Size(&wire); size > 128 {
		t.Errorf("%d bytes", size)
	} else {
		t.Logf("%d bytes", size)
	}
}
