package state

import (
	"math"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Firewall is the nftables table with its set of routed networks, and its guard. An empty
// Table means that there is none.
type Firewall struct {
	Table  string
	Chains []Chain
	// Networks are disjoint; packets to them go into the tunnel.
	Networks []netip.Prefix
	// Guard drops packets to Networks that would leave in clear.
	Guard Guard
	// Former are read from the kernel only: tables of the same mesh under earlier names.
	Former []string
	// Dropped is read from the kernel only.
	Dropped Dropped
}

// Dropped counts the packets that rules have dropped on their way out in clear. Each rule counts
// from when it was written.
type Dropped struct {
	// Marked had WireGuard's mark, and were not WireGuard's.
	Marked uint64
	// Unmarked went to the routed networks or to the mesh addresses without that mark.
	Unmarked uint64
	// Bare were WireGuard's own, and another program has changed their mark.
	Bare uint64
}

// Add adds the packets that a rule has dropped.
func (d *Dropped) Add(op Op, packets uint64) {
	switch op {
	case DropMarked:
		d.Marked += packets
	case DropClear, DropSubnet:
		d.Unmarked += packets
	case DropBare:
		d.Bare += packets
	}
}

// Guard is a second nftables table, with a copy of the networks. It drops packets that would
// leave in clear, even if the other table, the rules, the routes or the link are missing.
type Guard struct {
	Table    string
	Chains   []Chain
	Networks []netip.Prefix
}

// exists reports whether there is any table.
func (f *Firewall) exists() bool { return f.Table != "" || f.Guard.Table != "" || len(f.Former) > 0 }

// Chain is a base chain of the table. Its fields have the words of nft(8).
type Chain struct {
	Name       string
	Type       string
	Hook       string
	Priority   int
	Statements []Statement
}

// The TCP and IP headers that the maximum segment size leaves out, in bytes,
// without options (RFC 9293 section 3.7.1).
const (
	tcpHeaders4 = 40
	tcpHeaders6 = 60
)

// filterPriority and rawPriority are nft(8)'s standard priorities of these names. Others' chains are
// between firstPriority and lastPriority, which are the kernel's (netfilter_ipv4.h).
const (
	filterPriority = 0
	rawPriority    = -300
	firstPriority  = math.MinInt32
	lastPriority   = math.MaxInt32
)

// The chains that count the datagrams of package reflection.
const (
	ArrivedChain  = "kubespan_arrived"
	AcceptedChain = "kubespan_accepted"
)

// firewall returns the tables without their networks.
func firewall(scope Scope, marks mesh.Marks, in Inputs) Firewall {
	r := rules{link: scope.LinkName, port: in.KubeSpan.ListenPort, marks: marks, subnet: in.Identity.Subnet, mtu: in.MTU, neighbours: in.Neighbours}
	return Firewall{
		Table:  scope.FirewallTable,
		Chains: []Chain{r.outgoing(), r.prerouting(), r.counting(ArrivedChain, "prerouting", firstPriority), r.counting(AcceptedChain, "input", lastPriority)},
		Guard:  Guard{Table: scope.GuardTable, Chains: []Chain{r.arriving(), r.forwarded(), r.guard()}},
	}
}

// rules makes the firewall rules of a mesh. Two chains are KubeSpan's. One is for packets that
// are forwarded or arrive. The other is for packets that this machine sends, which the kernel
// routes again when their mark changes.
//
// Both look first at the connection: a reply goes where the request came from, into the
// tunnel or not, regardless of the routed networks.
type rules struct {
	link   string
	marks  mesh.Marks
	subnet netip.Prefix
	mtu    int
	// port is WireGuard's UDP port.
	port       int
	neighbours []Neighbour
}

// What WireGuard sends is known by its mark together with its port: another program may set the
// mark on whatever it likes. Such packets go into the tunnel as if they had no mark.
func (r rules) outgoing() Chain {
	return Chain{Name: "kubespan_outgoing", Type: "route", Hook: "output", Priority: filterPriority, Statements: slices.Concat(
		[]Statement{{Op: DropOwnLoop, Link: r.link, Mark: r.marks.Own, Mask: r.marks.Mask, Port: r.port}},
		r.own(),
		[]Statement{
			{Op: AcceptLoopback},
			{Op: AcceptNeighbours},
			{Op: DropBare, Port: r.port, Family: IPv4},
			{Op: DropBare, Port: r.port, Family: IPv6},
			{Op: ClampMSS, Family: IPv4, MSS: r.mtu - tcpHeaders4},
			{Op: ClampMSS, Family: IPv6, MSS: r.mtu - tcpHeaders6},
		}, r.route())}
}

// prerouting accepts nothing for its mark: what a machine forwards is never its WireGuard's.
func (r rules) prerouting() Chain {
	return Chain{Name: "kubespan_prerouting", Type: "filter", Hook: "prerouting", Priority: filterPriority, Statements: slices.Concat(
		r.note(), r.route())}
}

// counting counts the datagrams by which `spanctl doctor` tells whether a firewall in front of this
// machine drops what is for WireGuard, or this machine's own.
func (r rules) counting(name, hook string, priority int) Chain {
	return Chain{Name: name, Type: "filter", Hook: hook, Priority: priority, Statements: []Statement{{Op: CountReflections, Port: r.port}}}
}

// arriving drops what has a mesh address as its source and did not come out of the tunnel, where
// WireGuard proves the source.
func (r rules) arriving() Chain {
	return Chain{Name: "kubespan_arriving", Type: "filter", Hook: "prerouting", Priority: rawPriority, Statements: []Statement{
		{Op: DropForged, Link: r.link, Subnet: r.subnet}}}
}

// forwarded sees what this machine forwards, after any other program's rules for such packets.
// Nothing of it is of the machine's own WireGuard or agent, whatever its mark, port and priority.
func (r rules) forwarded() Chain {
	return Chain{Name: "kubespan_forwarded", Type: "filter", Hook: "forward", Priority: lastPriority, Statements: slices.Concat(
		r.inside(), r.drop())}
}

// guard sees every packet that leaves, before any other program's rules for such packets. It
// accepts what the other chains leave outside of the tunnel.
func (r rules) guard() Chain {
	return Chain{Name: "kubespan_guard", Type: "filter", Hook: "postrouting", Priority: rawPriority, Statements: slices.Concat(
		r.inside(), r.own(), []Statement{{Op: AcceptLoopback}, {Op: AcceptNeighbours}}, r.drop())}
}

// inside accepts what leaves over the links of meshes.
func (r rules) inside() []Statement {
	accept := []Statement{{Op: AcceptLink, Link: r.link}}
	for _, n := range r.neighbours {
		accept = append(accept, Statement{Op: AcceptLink, Link: n.LinkName})
	}
	return accept
}

// drop drops what would leave in clear, other than replies to what arrived so.
func (r rules) drop() []Statement {
	return append(r.followOutside(), []Statement{
		{Op: DropMarked, Mark: r.marks.Own, Mask: r.marks.Mask, Family: IPv4},
		{Op: DropMarked, Mark: r.marks.Own, Mask: r.marks.Mask, Family: IPv6},
		{Op: DropClear, Family: IPv4},
		{Op: DropClear, Family: IPv6},
		{Op: DropSubnet, Subnet: r.subnet},
	}...)
}

// own accepts the packets of this mesh's WireGuard and agent, and then those of other meshes.
func (r rules) own() []Statement {
	all := slices.Concat([]Neighbour{{Mark: r.marks.Own, Mask: r.marks.Mask, Port: r.port}}, r.neighbours)
	var accept []Statement
	for _, n := range all {
		accept = append(accept,
			Statement{Op: AcceptWireGuard, Mark: n.Mark, Mask: n.Mask, Port: n.Port},
			Statement{Op: AcceptAgent, Mark: n.Mark, Mask: n.Mask})
	}
	return accept
}

// note marks connections by where the direction that began them arrives. A source in the routed
// networks proves nothing in clear. So what came through the tunnel stays there, and only that is
// noted as in clear whose replies differ from what this machine begins itself: TCP and echoes.
// The marks of all others are left alone: other programs may compare a mark as a whole.
func (r rules) note() []Statement {
	inside := Statement{Op: NoteInside, Link: r.link, Mark: r.marks.Routed, Mask: r.marks.Mask}
	var all []Statement
	for _, f := range Families {
		s := inside
		s.Family = f
		if f == IPv6 {
			s.Subnet = r.subnet
		}
		all = append(all, s)
	}
	outside := Statement{Link: r.link, Mark: r.marks.Own, Mask: r.marks.Mask}
	for _, f := range Families {
		moved, noted := outside, outside
		moved.Op, moved.Family = MovedOutside, f
		all = append(all, moved)
		noted.Op, noted.Family = NoteOutside, f
		for _, protocol := range []IPProtocol{TCP, echoOf(f)} {
			noted.Protocol = protocol
			all = append(all, noted)
		}
		moved.Op, moved.Port = NoteWireGuard, r.port
		all = append(all, moved)
	}
	return all
}

// followOutside accepts replies to what arrived in clear.
func (r rules) followOutside() []Statement {
	var all []Statement
	for _, protocol := range []IPProtocol{TCP, ICMP, ICMPv6} {
		all = append(all, Statement{Op: FollowOutside, Mark: r.marks.Own, Mask: r.marks.Mask, Protocol: protocol})
	}
	return all
}

// route marks replies, and packets to the routed networks.
func (r rules) route() []Statement {
	return slices.Concat([]Statement{{Op: FollowInside, Mark: r.marks.Routed, Mask: r.marks.Mask}}, r.followOutside(), []Statement{
		{Op: RouteMarked, Family: IPv4, Mark: r.marks.Routed, Mask: r.marks.Mask},
		{Op: RouteMarked, Family: IPv6, Mark: r.marks.Routed, Mask: r.marks.Mask},
	})
}
