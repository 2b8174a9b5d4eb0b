package state

import (
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/link"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// Inputs are what the desired document of a machine is made from.
type Inputs struct {
	Identity mesh.Identity
	KubeSpan schema.KubeSpan
	// PresharedKey is the cluster secret.
	PresharedKey mesh.PrivateKey
	Peers        []mesh.PeerSpec
	// Statuses and Redirects are per peer: what is known of it, and the endpoint
	// that is to be set now, if any.
	Statuses  map[mesh.Key]link.Status
	Redirects map[mesh.Key]netip.AddrPort
	// Retain are live peers to keep as they are, besides Peers.
	Retain []Peer
}

// ScopeOf is what spanctl owns on a machine with this config.
func ScopeOf(k *schema.KubeSpan) Scope {
	return Scope{
		LinkName:      k.InterfaceName,
		RoutingTable:  mesh.RoutingTable,
		RulePriority:  mesh.RulePriority,
		FirewallTable: TableName,
	}
}

// Build makes the desired document. It is empty when KubeSpan is not enabled.
func Build(in Inputs) State {
	if !in.KubeSpan.Enabled {
		return State{}
	}
	scope := ScopeOf(&in.KubeSpan)
	s := State{
		Link: Link{
			Name:         scope.LinkName,
			Up:           true,
			MTU:          in.KubeSpan.MTU,
			PrivateKey:   in.Identity.PrivateKey,
			ListenPort:   in.KubeSpan.ListenPort,
			FirewallMark: mesh.FirewallMark,
		},
		Addresses: []netip.Prefix{in.Identity.LinkAddress()},
		Peers:     make([]Peer, 0, len(in.Peers)+len(in.Retain)),
		Firewall:  Firewall{Table: scope.FirewallTable, Chains: chains(in.KubeSpan.MTU)},
	}
	for _, f := range Families {
		s.Routes = append(s.Routes, Route{Family: f, Destination: everything(f), Table: scope.RoutingTable,
			Metric: mesh.RouteMetric, Link: scope.LinkName, MTU: in.KubeSpan.MTU})
		s.Rules = append(s.Rules, Rule{Family: f, Priority: scope.RulePriority,
			Mark: mesh.RoutedMark, Mask: mesh.MarkMask, Table: scope.RoutingTable})
	}
	for _, spec := range in.Peers {
		s.Peers = append(s.Peers, in.peer(spec))
		// Forced routing: what belongs to a peer that is down is dropped by
		// WireGuard rather than sent in the clear.
		if !in.KubeSpan.AllowDownPeerBypass || in.Statuses[spec.PublicKey].State == link.Up {
			s.route(in.Identity.Subnet, spec.AllowedIPs)
		}
	}
	for _, peer := range in.Retain {
		s.Peers = append(s.Peers, peer)
		s.route(in.Identity.Subnet, peer.AllowedIPs)
	}
	s.Normalize()
	return s
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

func (in *Inputs) peer(spec mesh.PeerSpec) Peer {
	p := Peer{
		PublicKey:    spec.PublicKey,
		PresharedKey: in.PresharedKey,
		Endpoint:     in.Statuses[spec.PublicKey].Endpoint,
		Keepalive:    mesh.Keepalive,
		AllowedIPs:   slices.Clone(spec.AllowedIPs),
		Label:        spec.Label,
	}
	if in.Statuses[spec.PublicKey].Quiet() {
		p.Keepalive = 0
	}
	if redirect, ok := in.Redirects[spec.PublicKey]; ok {
		p.Endpoint, p.Redirect = redirect, true
	}
	return p
}

// everything is the prefix of a default route.
func everything(f Family) netip.Prefix {
	if f == IPv4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// The TCP and IP headers that the maximum segment size leaves out, in bytes,
// without options (RFC 9293 section 3.7.1).
const (
	tcpHeaders4 = 40
	tcpHeaders6 = 60
)

// chains are KubeSpan's two nftables chains: one for packets that are forwarded
// or arrive, one for packets that this machine sends, which are routed anew
// when their mark changes.
func chains(mtu int) []Chain {
	own := Statement{Op: AcceptMark, Mark: mesh.FirewallMark, Mask: mesh.MarkMask}
	route := func(f Family) Statement {
		return Statement{Op: RouteMarked, Family: f, Mark: mesh.RoutedMark, Mask: mesh.MarkMask}
	}
	const filterPriority = 0 // nft(8): the standard priority "filter"
	return []Chain{
		{Name: "kubespan_outgoing", Type: "route", Hook: "output", Priority: filterPriority, Statements: []Statement{
			own,
			{Op: AcceptLoopback},
			{Op: ClampMSS, Family: IPv4, MSS: mtu - tcpHeaders4},
			{Op: ClampMSS, Family: IPv6, MSS: mtu - tcpHeaders6},
			route(IPv4), route(IPv6),
		}},
		{Name: "kubespan_prerouting", Type: "filter", Hook: "prerouting", Priority: filterPriority, Statements: []Statement{
			own, route(IPv4), route(IPv6),
		}},
	}
}
