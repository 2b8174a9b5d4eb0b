package state

import (
	"net/netip"
	"slices"
	"time"

	"go4.org/netipx"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/schema"
)

// Inputs are what the desired document of a machine is made from.
type Inputs struct {
	Identity mesh.Identity
	KubeSpan schema.KubeSpan
	// PresharedKey is the cluster secret, PresharedKeys have the peers that use
	// another, or none.
	PresharedKey  mesh.PrivateKey
	PresharedKeys map[mesh.Key]mesh.PrivateKey
	// MTU is that of the link, in bytes.
	MTU   int
	Peers []mesh.PeerSpec
	// Connections are the connections to the peers, sorted by key. A peer without one is
	// new and has no endpoint.
	Connections peer.Connections
	// Retain are live peers to keep as they are, besides Peers.
	Retain []Peer
}

// Dummy is an address that the link has and nothing is ever sent from or to. Where
// the kernel checks the source of packets at all, as it does by default on most
// systems, it drops all IPv4 packets that come in over a link without an IPv4
// address (fib_frontend.c). It is link-local, so that programs that look for the
// address of a link, as flannel does, take one of the config first; and of those that
// no machine gives itself (RFC 3927, section 2.1).
var Dummy = netip.MustParsePrefix("169.254.0.8/32")

// ScopeOf is what spanctl owns on a machine with this config.
func ScopeOf(k *schema.KubeSpan) Scope {
	return Scope{
		LinkName:      k.InterfaceName,
		RoutingTable:  k.RoutingTable,
		RulePriority:  k.RulePriority,
		FirewallTable: TableName,
		MarkMask:      mesh.MarksOf(k.FirewallMark).Mask,
		RoutedMark:    mesh.MarksOf(k.FirewallMark).Routed,
	}
}

// Build makes the desired document. It is empty when KubeSpan is not enabled.
func Build(in Inputs) State {
	if !in.KubeSpan.Enabled {
		return State{}
	}
	scope, marks := ScopeOf(&in.KubeSpan), mesh.MarksOf(in.KubeSpan.FirewallMark)
	s := State{
		Link: Link{
			Name:         scope.LinkName,
			Up:           true,
			MTU:          in.MTU,
			PrivateKey:   in.Identity.PrivateKey,
			ListenPort:   in.KubeSpan.ListenPort,
			FirewallMark: marks.Own,
		},
		Addresses: append([]netip.Prefix{in.Identity.LinkAddress(), Dummy}, in.KubeSpan.Addresses...),
		Peers:     make([]Peer, 0, len(in.Peers)+len(in.Retain)),
		Firewall:  Firewall{Table: scope.FirewallTable, Chains: chains(scope.LinkName, marks, in.MTU)},
	}
	for _, f := range Families {
		s.Routes = append(s.Routes, Route{Family: f, Destination: f.Everything(), Table: scope.RoutingTable,
			Metric: mesh.RouteMetric, Link: scope.LinkName, MTU: in.MTU})
		s.Rules = append(s.Rules, Rule{Family: f, Priority: scope.RulePriority,
			Mark: marks.Routed, Mask: marks.Mask, Table: scope.RoutingTable})
	}
	carried := in.carried()
	for i := range in.Peers {
		spec, c := &in.Peers[i], in.connection(i)
		s.Peers = append(s.Peers, in.peer(spec, c, carried))
		// Forced routing: what belongs to a peer that is down is dropped by
		// WireGuard rather than sent in the clear.
		if !in.KubeSpan.AllowDownPeerBypass || c.Relayed() || c.IsUp() {
			s.route(in.Identity.Subnet, spec.AllowedIPs)
		}
	}
	for _, retained := range in.Retain {
		s.Peers = append(s.Peers, retained)
		s.route(in.Identity.Subnet, retained.AllowedIPs)
	}
	s.Firewall.Networks = Without(s.Firewall.Networks, in.KubeSpan.Bypass)
	s.Normalize()
	return s
}

// carried are the networks that relays carry, by the key of the relay.
func (in *Inputs) carried() map[mesh.Key][]netip.Prefix {
	networks := map[mesh.Key][]netip.Prefix{}
	for i := range in.Peers {
		if c := in.connection(i); c.Relayed() {
			networks[c.Relay] = append(networks[c.Relay], in.Peers[i].AllowedIPs...)
		}
	}
	return networks
}

// connection returns the connection to the peer at index i: an empty one for a new peer.
func (in *Inputs) connection(i int) *peer.Connection {
	if c := in.Connections.Find(in.Peers[i].PublicKey, i); c != nil {
		return c
	}
	return &peer.Connection{}
}

// Without takes the networks of remove out of disjoint networks. A network that
// is hit in part leaves the rest of it.
func Without(networks, remove []netip.Prefix) []netip.Prefix {
	if len(remove) == 0 {
		return networks
	}
	var b netipx.IPSetBuilder
	for _, r := range remove {
		b.AddPrefix(r)
	}
	out, err := b.IPSet()
	if err != nil {
		return networks // not reached: the config's networks are valid
	}
	left := make([]netip.Prefix, 0, len(networks))
	for _, n := range networks {
		if !out.OverlapsPrefix(n) {
			left = append(left, n)
			continue
		}
		var rest netipx.IPSetBuilder
		rest.AddPrefix(n)
		rest.RemoveSet(out)
		if set, err := rest.IPSet(); err == nil {
			left = append(left, set.Prefixes()...)
		}
	}
	return left
}

// route sends packets to networks into the tunnel. Those inside of the mesh's
// own subnet need it not: the link's address makes a route for them.
func (s *State) route(subnet netip.Prefix, networks []netip.Prefix) {
	for _, network := range networks {
		if !subnet.Overlaps(network) {
			s.Firewall.Networks = append(s.Firewall.Networks, network)
		}
	}
}

func (in *Inputs) peer(spec *mesh.PeerSpec, c *peer.Connection, carried map[mesh.Key][]netip.Prefix) Peer {
	p := Peer{
		PublicKey:    spec.PublicKey,
		PresharedKey: in.PresharedKey,
		Endpoint:     c.Status.Endpoint,
		Keepalive:    time.Duration(in.KubeSpan.PersistentKeepalive) * time.Second,
		AllowedIPs:   spec.AllowedIPs,
		Label:        spec.Label,
	}
	if own, ok := in.PresharedKeys[spec.PublicKey]; ok {
		p.PresharedKey = own
	}
	if c.Relayed() {
		p.AllowedIPs = nil
	}
	if more := carried[spec.PublicKey]; len(more) > 0 {
		p.AllowedIPs = append(slices.Clone(p.AllowedIPs), more...)
	}
	if !slices.IsSortedFunc(p.AllowedIPs, comparePrefixes) {
		p.AllowedIPs = slices.Clone(p.AllowedIPs) // for Normalize to sort
	}
	if c.Status.InitiationDeferred() {
		p.Keepalive = 0
	}
	if c.Action.Endpoint.IsValid() {
		p.Endpoint, p.Redirect = c.Action.Endpoint, true
	}
	return p
}
