package wginvite

import (
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"

	"go4.org/netipx"

	"github.com/spanmesh/span/cmd/spanctl/internal/wgconf"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// Request is what a user asks for.
type Request struct {
	// Name is that of the peer.
	Name string
	// Addresses are those that the peer is to have besides its own in the cluster's prefix, or in its
	// place.
	Addresses []netip.Addr
}

// Mesh is what is known of the mesh.
type Mesh struct {
	Subnet netip.Prefix
	// Taken are the addresses that others have, with their names.
	Taken map[netip.Addr]string
	// Networks are those behind machines, and those of further addresses in the mesh.
	Networks []netip.Prefix
	// MTU is in bytes; 0 for the default of the peer's program.
	MTU int
}

// Gateway is the machine that the peer connects to.
type Gateway struct {
	Name      string
	PublicKey mesh.Key
	Endpoint  Endpoint
}

// Keys are those of the peer.
type Keys struct{ Private, Preshared mesh.PrivateKey }

// NewKeys makes the keys of a peer.
func NewKeys(random io.Reader) (k Keys, err error) {
	if k.Private, err = mesh.NewPrivateKey(random); err != nil {
		return k, err
	}
	var raw [mesh.KeySize]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return k, fmt.Errorf("read randomness for a preshared key: %w", err)
	}
	k.Preshared = mesh.SecretKey(raw)
	return k, nil
}

// Keepalive is how often a peer sends a packet, in seconds: NATs forget it after 30 s, and it tells the
// machine that it is there.
const Keepalive = 25

// label is a hostname label (RFC 1123, section 2.1), in lower case.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckName returns an error for a name that a peer cannot have, or that a static peer has.
func CheckName(name string, peers []schema.StaticPeer) error {
	if !label.MatchString(name) {
		return fmt.Errorf("the name is %q: want a hostname of 1 to 63 lower-case letters, digits and '-'", name)
	}
	if slices.ContainsFunc(peers, func(p schema.StaticPeer) bool { return p.Name == name }) {
		return fmt.Errorf("a static peer has the name %q already: want another name, or take that one out of the config with `spanctl edit` and invite it anew", name)
	}
	return nil
}

// Peer returns the static peer of an invitation, as a config has it.
func (m *Mesh) Peer(r Request, keys Keys) (schema.StaticPeer, error) {
	public := keys.Private.Public()
	p := schema.StaticPeer{Name: r.Name, PublicKey: schema.StaticKey(public), PresharedKey: schema.SecretText(keys.Preshared.Reveal()), Advertise: true}
	if !slices.ContainsFunc(r.Addresses, m.Subnet.Contains) {
		p.AllowedIPs = append(p.AllowedIPs, mesh.PeerAddress(m.Subnet, public))
	}
	for _, a := range r.Addresses {
		p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(a, a.BitLen()))
	}
	for i, network := range p.AllowedIPs {
		a := network.Addr()
		if meaning := schema.SpecialMeaning(network); meaning != "" {
			return p, fmt.Errorf("the address %s %s: no peer can have it", a, meaning)
		}
		if owner, taken := m.Taken[a]; taken {
			return p, fmt.Errorf("the address %s is that of %s: want another one", a, owner)
		}
		if slices.Contains(p.AllowedIPs[:i], network) {
			return p, fmt.Errorf("the address %s is given twice", a)
		}
	}
	return p, nil
}

// Config returns the peer's end of the tunnel to a machine. Left are the networks that it does not
// route, since the endpoint is in them: its packets to the endpoint would go into the tunnel.
func (m *Mesh) Config(p schema.StaticPeer, keys Keys, g Gateway) (c *wgconf.Config, left []netip.Prefix, err error) {
	var routed netipx.IPSetBuilder
	routed.AddPrefix(m.Subnet)
	for _, n := range m.Networks {
		switch {
		case n.Bits() == 0:
		case n.Contains(g.Endpoint.address()):
			left = append(left, n)
		default:
			routed.AddPrefix(n)
		}
	}
	set, err := routed.IPSet()
	if err != nil {
		return nil, nil, fmt.Errorf("join the networks of the mesh: %w", err)
	}
	return &wgconf.Config{
		Title: fmt.Sprintf("%s, which reaches the mesh through %s", p.Name, g.Name),
		Interface: wgconf.Interface{Name: linkName(p.Name), PrivateKey: schema.SecretText(keys.Private.Reveal()),
			Addresses: p.AllowedIPs, MTU: m.MTU},
		Peers: []wgconf.Peer{{Name: g.Name, PublicKey: g.PublicKey, PresharedKey: p.PresharedKey,
			Endpoint: g.Endpoint.String(), AllowedIPs: set.Prefixes(), Keepalive: Keepalive}},
	}, left, nil
}

// maxLinkName is the length of the longest name of a link (IFNAMSIZ without its end).
const maxLinkName = 15

// linkName returns a name for a link of a peer.
func linkName(peer string) string {
	return peer[:min(len(peer), maxLinkName)]
}
