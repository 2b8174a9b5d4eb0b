package payload

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/discoveryhttp/clientpb"
	"github.com/spanmesh/span/reconciler/mesh"
)

// natKinds has the kinds of mapping at their numbers in an affiliate.
var natKinds = []mesh.NAT{mesh.NATUnknown, mesh.NATNone, mesh.NATIndependent, mesh.NATDependent}

// encodePaths sets what peers need to find a path to the machine.
func encodePaths(k *mesh.KubeSpan, out *clientpb.KubeSpan) {
	if k.Probes {
		kind := uint32(max(slices.Index(natKinds, k.NAT), 0))
		out.Mapping = &kind
	}
	for _, relay := range k.Registered {
		out.RegisteredRelays = append(out.RegisteredRelays, relay[:])
	}
	if k.BlindRelay.IsZero() {
		return
	}
	out.BlindRelay = &clientpb.BlindRelay{PublicKey: k.BlindRelay.Key[:]}
	for _, e := range k.BlindRelay.Endpoints {
		out.BlindRelay.Endpoints = append(out.BlindRelay.Endpoints, &clientpb.Endpoint{Ip: e.Addr().AsSlice(), Port: uint32(e.Port())})
	}
}

// decodePaths is the inverse of encodePaths. What is more than a machine publishes is left out. Of a kind
// of mapping that later versions may have, it is known that the machine answers probes.
func decodePaths(in *clientpb.KubeSpan, k *mesh.KubeSpan) error {
	if k.Probes = in.Mapping != nil; int(in.GetMapping()) < len(natKinds) {
		k.NAT = natKinds[in.GetMapping()]
	}
	registered := in.GetRegisteredRelays()
	for _, raw := range registered[:min(len(registered), mesh.MaxRegistered)] {
		if len(raw) != mesh.KeySize {
			return fmt.Errorf("is registered with a relay whose key has %d bytes", len(raw))
		}
		k.Registered = append(k.Registered, mesh.Key(raw))
	}
	hosted := in.GetBlindRelay()
	if hosted == nil {
		return nil
	}
	if len(hosted.GetPublicKey()) != mesh.KeySize {
		return fmt.Errorf("hosts a relay whose key has %d bytes", len(hosted.GetPublicKey()))
	}
	k.BlindRelay.Key = mesh.Key(hosted.GetPublicKey())
	endpoints := hosted.GetEndpoints()
	for _, e := range endpoints[:min(len(endpoints), mesh.MaxRelayEndpoints)] {
		address, ok := netip.AddrFromSlice(e.GetIp())
		if !ok || e.GetPort() == 0 || e.GetPort() > 65535 {
			return fmt.Errorf("hosts a relay with an invalid endpoint (%d bytes, port %d)", len(e.GetIp()), e.GetPort())
		}
		k.BlindRelay.Endpoints = append(k.BlindRelay.Endpoints, netip.AddrPortFrom(address.Unmap(), uint16(e.GetPort())))
	}
	return nil
}
