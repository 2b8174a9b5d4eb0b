package payload

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unique"

	"github.com/spanmesh/span/discoveryhttp/clientpb"
	"github.com/spanmesh/span/reconciler/mesh"
)

func encodeAffiliate(a mesh.Affiliate) *clientpb.Affiliate {
	out := &clientpb.Affiliate{
		NodeId:          a.NodeID,
		Hostname:        a.Hostname,
		Nodename:        a.Nodename,
		MachineType:     a.MachineType,
		OperatingSystem: a.OperatingSystem,
		Version:         a.Version,
	}
	for _, address := range a.Addresses {
		out.Addresses = append(out.Addresses, address.AsSlice())
	}
	if a.ControlPlane != (mesh.ControlPlane{}) {
		out.ControlPlane = &clientpb.ControlPlane{ApiServerPort: uint32(a.ControlPlane.APIServerPort)}
	}
	if k := a.KubeSpan; !k.IsZero() {
		out.Kubespan = &clientpb.KubeSpan{
			PublicKey:                  k.PublicKey.String(),
			Address:                    k.Address.AsSlice(),
			AdditionalAddresses:        encodePrefixes(k.AdditionalAddresses),
			ExcludeAdvertisedAddresses: encodePrefixes(k.ExcludeAdvertisedNetworks),
			Relay:                      k.Relay,
		}
		for _, relay := range k.Relays {
			out.Kubespan.Relays = append(out.Kubespan.Relays, relay[:])
		}
		encodePaths(&k, out.Kubespan)
	}
	return out
}

func encodePrefixes(prefixes []netip.Prefix) []*clientpb.IPPrefix {
	out := make([]*clientpb.IPPrefix, len(prefixes))
	for i, p := range prefixes {
		out[i] = &clientpb.IPPrefix{Ip: p.Addr().AsSlice(), Bits: uint32(p.Bits())}
	}
	return out
}

// maxName is the length of the longest name in an affiliate, in bytes. Host names have up to 253.
const maxName = 256

// checkNames returns an error for a name that is too long, or that has characters that cannot be
// printed: it would reach terminals and logs.
func checkNames(in *clientpb.Affiliate) error {
	for _, name := range []struct{ kind, text string }{
		{"node ID", in.GetNodeId()},
		{"host name", in.GetHostname()},
		{"node name", in.GetNodename()},
		{"machine type", in.GetMachineType()},
		{"operating system", in.GetOperatingSystem()},
		{"version", in.GetVersion()},
	} {
		if len(name.text) > maxName {
			return fmt.Errorf("has a %s of %d bytes, want at most %d", name.kind, len(name.text), maxName)
		}
		if strings.ContainsFunc(name.text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return fmt.Errorf("has the %s %+q, which has characters that cannot be printed", name.kind, name.text)
		}
	}
	return nil
}

// shared returns a text that is in memory once, however many machines have it.
func shared(text string) string { return unique.Make(text).Value() }

func decodeAffiliate(in *clientpb.Affiliate) (mesh.Affiliate, error) {
	if err := checkNames(in); err != nil {
		return mesh.Affiliate{}, err
	}
	a := mesh.Affiliate{
		NodeID:          in.GetNodeId(),
		Hostname:        in.GetHostname(),
		Nodename:        in.GetNodename(),
		MachineType:     shared(in.GetMachineType()),
		OperatingSystem: shared(in.GetOperatingSystem()),
		Version:         shared(in.GetVersion()),
		ControlPlane:    mesh.ControlPlane{APIServerPort: int(in.GetControlPlane().GetApiServerPort())},
	}
	if a.Nodename == a.Hostname {
		a.Nodename = a.Hostname // in memory, too
	}
	for _, raw := range in.GetAddresses() {
		address, ok := netip.AddrFromSlice(raw)
		if !ok {
			return mesh.Affiliate{}, fmt.Errorf("has an address of %d bytes", len(raw))
		}
		a.Addresses = append(a.Addresses, address.Unmap())
	}
	if in.GetKubespan() == nil {
		return a, nil
	}
	var err error
	if a.KubeSpan, err = decodeKubeSpan(in.GetKubespan()); err != nil {
		return mesh.Affiliate{}, err
	}
	return a, nil
}

func decodeKubeSpan(in *clientpb.KubeSpan) (mesh.KubeSpan, error) {
	key, err := mesh.ParseKey(in.GetPublicKey())
	if err != nil || key.IsZero() {
		return mesh.KubeSpan{}, fmt.Errorf("has no valid WireGuard key")
	}
	address, ok := netip.AddrFromSlice(in.GetAddress())
	if !ok {
		return mesh.KubeSpan{}, fmt.Errorf("has a mesh address of %d bytes", len(in.GetAddress()))
	}
	k := mesh.KubeSpan{PublicKey: key, Address: address, Relay: in.GetRelay()}
	for _, raw := range in.GetRelays() {
		if len(raw) != mesh.KeySize {
			return mesh.KubeSpan{}, fmt.Errorf("has a relay with a key of %d bytes", len(raw))
		}
		k.Relays = append(k.Relays, mesh.Key(raw))
	}
	if err := decodePaths(in, &k); err != nil {
		return mesh.KubeSpan{}, err
	}
	if k.AdditionalAddresses, err = decodePrefixes(in.GetAdditionalAddresses()); err != nil {
		return mesh.KubeSpan{}, err
	}
	if k.ExcludeAdvertisedNetworks, err = decodePrefixes(in.GetExcludeAdvertisedAddresses()); err != nil {
		return mesh.KubeSpan{}, err
	}
	return k, nil
}

func decodePrefixes(in []*clientpb.IPPrefix) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, p := range in {
		address, ok := netip.AddrFromSlice(p.GetIp())
		if !ok {
			return nil, fmt.Errorf("has a network address of %d bytes", len(p.GetIp()))
		}
		prefix, err := address.Prefix(int(min(p.GetBits(), 255)))
		if err != nil {
			return nil, fmt.Errorf("has a network of %d bits", p.GetBits())
		}
		out = append(out, prefix)
	}
	return out, nil
}
