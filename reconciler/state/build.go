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

// Inputs determine the desired state of a machine.
type Inputs struct {
	Identity mesh.Identity
	KubeSpan schema.KubeSpan
	// PresharedKey is the cluster secret.
	PresharedKey mesh.PrivateKey
	// PresharedKeys has the preshared keys of the peers that use another one, by public key. A
	// zero key is none.
	PresharedKeys map[mesh.Key]mesh.PrivateKey
	// MTU is the link's MTU in bytes.
	MTU int
	// Peers are the members of the mesh.
	Peers []mesh.PeerSpec
	// Connections are the connections to the peers, sorted by key. A peer without one is
	// new and has no endpoint.
	Connections peer.Connections
	// Relays are the blind relays.
	Relays []RelayPeer
	// Retain are live peers to keep unchanged, besides Peers.
	Retain []Peer
	// Neighbours are the other meshes of the machine, by link.
	Neighbours []Neighbour
}

// Dummy is an IPv4 address of the link that no packet has. With rp_filter on, as on most
// systems, the kernel drops all IPv4 packets from a link without an IPv4 address
// (fib_frontend.c). Dummy is link-local, so that programs that look for a link's address, such
// as flannel, prefer one of the config. It is in the range that no machine takes by itself
// (RFC 3927, section 2.1).
var Dummy = netip.MustParsePrefix("169.254.0.8/32")

// ScopeOf returns what spanctl owns on a machine with this config.
func ScopeOf(k *schema.KubeSpan) Scope {
	return Scope{
		LinkName:      k.InterfaceName,
		RoutingTable:  k.RoutingTable,
		RulePriority:  k.RulePriority,
		FirewallTable: TableName(k.InterfaceName),
		GuardTable:    GuardName(k.InterfaceName),
		MarkMask:      mesh.MarksOf(k.FirewallMark).Mask,
		RoutedMark:    mesh.MarksOf(k.FirewallMark).Routed,
	}
}

// Build returns the desired state. It is empty if KubeSpan is not enabled.
func Build(in Inputs) State {
	s, _ := build(&in)
	return s
}

// build is Build that also returns what is routed.
func build(in *Inputs) (State, routed) {
	if !in.KubeSpan.Enabled {
		return State{}, routed{}
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
		Firewall:  firewall(scope, marks, *in),
	}
	s.addRouting(scope, marks, in.Identity, in.MTU)
	carried := in.carried()
	routes := routed{subnet: in.Identity.Subnet}
	for i := range in.Peers {
		spec, c := &in.Peers[i], in.connection(i)
		s.Peers = append(s.Peers, in.peer(spec, c, carried))
		// Forced routing: WireGuard drops packets to a peer that is down. Without the
		// route they would leave unencrypted.
		if !in.KubeSpan.AllowDownPeerBypass || c.Relayed() || c.IsUp() {
			routes.add(spec.AllowedIPs)
		} else {
			routes.except(spec.AllowedIPs)
		}
	}
	for _, r := range in.Relays {
		s.Peers = append(s.Peers, r.peer())
	}
	for _, retained := range in.Retain {
		s.Peers = append(s.Peers, retained)
		routes.add(retained.AllowedIPs)
	}
	s.Firewall.Networks = Without(routes.networks(), in.KubeSpan.Bypass)
	s.Normalize()
	s.Firewall.Guard.Networks = s.Firewall.Networks
	return s, routes
}

// addRouting adds the routes and rules that lead packets into the tunnel. While the link is
// missing, the packets are refused, and no other table routes them.
//
// The mesh's subnet has a rule of its own, so that neither marks nor the main table decide
// where its packets go. This machine's address in it is local in our table as well, since some
// administrators move the rule of the table "local" behind ours.
func (s *State) addRouting(scope Scope, marks mesh.Marks, id mesh.Identity, mtu int) {
	for _, f := range Families {
		s.Routes = append(s.Routes,
			Route{Family: f, Destination: f.Everything(), Table: scope.RoutingTable, Metric: mesh.RouteMetric, Link: scope.LinkName, MTU: mtu},
			Route{Family: f, Type: Unreachable, Destination: f.Everything(), Table: scope.RoutingTable, Metric: mesh.LastMetric})
		s.Rules = append(s.Rules, Rule{Family: f, Priority: scope.RulePriority, Mark: marks.Routed, Mask: marks.Mask, Table: scope.RoutingTable})
	}
	own := id.Address.Addr()
	s.Routes = append(s.Routes, Route{Family: IPv6, Type: Local, Destination: netip.PrefixFrom(own, own.BitLen()),
		Table: scope.RoutingTable, Metric: mesh.RouteMetric, Link: scope.LinkName})
	s.Rules = append(s.Rules, Rule{Family: IPv6, Priority: scope.RulePriority, To: id.Subnet, Table: scope.RoutingTable})
}

// carried returns the networks that relays carry, by the key of the relay.
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

// Without returns the disjoint networks without the addresses of remove. A network that overlaps
// with remove is replaced by what is left of it.
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
	p.Renew = c.Action.Renew
	if c.Action.Endpoint.IsValid() {
		p.Endpoint, p.Redirect = c.Action.Endpoint, true
	}
	return p
}
