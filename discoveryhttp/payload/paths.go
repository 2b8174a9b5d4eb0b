package payload

import (
	"fmt"
	"math"
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
	out.KnowsRelays = k.KnowsRelays
	out.RelayEndpoints = encodeEndpoints(k.RelayEndpoints)
	if o := &k.Offer; !o.IsZero() {
		out.BlindRelay = &clientpb.BlindRelay{PublicKey: o.Key[:], Endpoints: encodeEndpoints(o.Endpoints)}
	}
}

func encodeEndpoints(endpoints []netip.AddrPort) (out []*clientpb.Endpoint) {
	for _, e := range endpoints {
		out = append(out, &clientpb.Endpoint{Ip: e.Addr().AsSlice(), Port: uint32(e.Port())})
	}
	return out
}

// decodeEndpoints returns the first of some endpoints.
func decodeEndpoints(in []*clientpb.Endpoint, most int) (endpoints []netip.AddrPort, err error) {
	for _, raw := range in[:min(len(in), most)] {
		address, ok := netip.AddrFromSlice(raw.GetIp())
		if !ok || raw.GetPort() == 0 || raw.GetPort() > math.MaxUint16 {
			return nil, fmt.Errorf("invalid endpoint: address of %d bytes, port %d", len(raw.GetIp()), raw.GetPort())
		}
		endpoints = append(endpoints, netip.AddrPortFrom(address.Unmap(), uint16(raw.GetPort())))
	}
	return endpoints, nil
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
	k.KnowsRelays = in.GetKnowsRelays()
	var err error
	if k.RelayEndpoints, err = decodeEndpoints(in.GetRelayEndpoints(), mesh.MaxRelayEndpoints); err != nil {
		return fmt.Errorf("relay endpoint: %w", err)
	}
	return decodeOffer(in.GetBlindRelay(), k)
}

// decodeOffer sets the relay that the machine offers to be.
func decodeOffer(in *clientpb.BlindRelay, k *mesh.KubeSpan) error {
	if in == nil {
		return nil
	}
	if len(in.GetPublicKey()) != mesh.KeySize {
		return fmt.Errorf("offers a relay whose key has %d bytes", len(in.GetPublicKey()))
	}
	k.Offer.Key = mesh.Key(in.GetPublicKey())
	endpoints, err := decodeEndpoints(in.GetEndpoints(), mesh.MaxOfferEndpoints)
	if err != nil {
		return fmt.Errorf("offered relay: %w", err)
	}
	k.Offer.Endpoints = endpoints
	return nil
}
