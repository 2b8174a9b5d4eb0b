package state

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

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

// Statement is one firewall rule. Fields that its Op does not use are zero.
type Statement struct {
	Op     Op
	Family Family
	Mark   uint32
	Mask   uint32
	// MSS is a TCP maximum segment size in bytes.
	MSS int
	// Link is the name of an interface.
	Link string
	// Subnet is that of the mesh addresses; invalid for none.
	Subnet netip.Prefix
	// Port is a UDP port.
	Port int
	// Text shows the expressions of a Foreign rule.
	Text string
}

// Op is what a firewall rule does.
type Op string

// The operations. Each has its fields in operands below, and its nftables expressions in
// netlinkapply/firewall/expr.go.
const (
	// AcceptMark accepts packets with the mark.
	AcceptMark Op = "accept mark"
	// AcceptLoopback accepts packets that leave over lo.
	AcceptLoopback Op = "accept loopback"
	// ClampMSS lowers the TCP maximum segment size of connections to the routed networks.
	ClampMSS Op = "clamp mss"
	// RouteMarked sets the mark on packets to the routed networks and accepts them.
	RouteMarked Op = "route with mark"
	// AcceptNeighbours accepts IPv6 neighbour discovery (RFC 4861). Without it, the link
	// that carries the tunnel could not resolve its neighbours.
	AcceptNeighbours Op = "accept neighbour discovery"
	// DropLoop drops WireGuard's own packets that a route would send into the tunnel.
	DropLoop Op = "drop loop"
	// NoteInside marks connections that arrive through the tunnel from an address that
	// replies would not go into it by.
	NoteInside Op = "note inside"
	// NoteOutside marks connections that arrive over another link from an address in the
	// routed networks.
	NoteOutside Op = "note outside"
	// MovedInside replaces the mark of a connection that now arrives through the tunnel.
	MovedInside Op = "moved inside"
	// MovedOutside replaces the mark of a connection that now arrives over another link.
	MovedOutside Op = "moved outside"
	// FollowInside sends replies of connections that arrived through the tunnel back into it.
	FollowInside Op = "follow inside"
	// FollowOutside accepts replies of connections that arrived over another link.
	FollowOutside Op = "follow outside"
	// AcceptLink accepts packets that leave over the link.
	AcceptLink Op = "accept link"
	// DropClear drops packets to the routed networks.
	DropClear Op = "drop in clear"
	// DropSubnet drops packets to the mesh addresses.
	DropSubnet Op = "drop subnet in clear"
	// CountReflections counts the datagrams of package reflection to the port.
	CountReflections Op = "count reflections"
	// Foreign is a rule that spanctl did not write.
	Foreign Op = "foreign rule"
)

// operand is a field of a Statement in the comment of its rule.
type operand struct {
	format func(Statement) string
	scan   func(text string, s *Statement) error
}

var (
	markOperand = operand{
		format: func(s Statement) string { return fmt.Sprintf("%#x/%#x", s.Mark, s.Mask) },
		scan: func(text string, s *Statement) error {
			_, err := fmt.Sscanf(text, "0x%x/0x%x", &s.Mark, &s.Mask)
			return err
		},
	}
	familyOperand = operand{
		format: func(s Statement) string { return s.Family.String() },
		scan: func(text string, s *Statement) error {
			_, err := fmt.Sscanf(text, "ipv%d", &s.Family)
			return err
		},
	}
	mssOperand = operand{
		format: func(s Statement) string { return strconv.Itoa(s.MSS) },
		scan: func(text string, s *Statement) error {
			_, err := fmt.Sscanf(text, "%d", &s.MSS)
			return err
		},
	}
	portOperand = operand{
		format: func(s Statement) string { return strconv.Itoa(s.Port) },
		scan: func(text string, s *Statement) error {
			_, err := fmt.Sscanf(text, "%d", &s.Port)
			return err
		},
	}
	linkOperand = operand{
		format: func(s Statement) string { return s.Link },
		scan:   func(text string, s *Statement) error { s.Link = text; return nil },
	}
	subnetOperand = operand{
		format: func(s Statement) string {
			if !s.Subnet.IsValid() {
				return "any"
			}
			return s.Subnet.String()
		},
		scan: func(text string, s *Statement) (err error) {
			if text != "any" {
				s.Subnet, err = netip.ParsePrefix(text)
			}
			return err
		},
	}
)

// operands are the fields of each operation, in the order of the rule's comment.
var operands = map[Op][]operand{
	AcceptMark:       {markOperand},
	AcceptLoopback:   {},
	ClampMSS:         {mssOperand, familyOperand},
	RouteMarked:      {markOperand, familyOperand},
	AcceptNeighbours: {},
	DropLoop:         {markOperand, linkOperand},
	NoteInside:       {markOperand, linkOperand, familyOperand, subnetOperand},
	NoteOutside:      {markOperand, linkOperand, familyOperand},
	MovedInside:      {markOperand, linkOperand},
	MovedOutside:     {markOperand, linkOperand},
	AcceptLink:       {linkOperand},
	DropClear:        {familyOperand},
	DropSubnet:       {subnetOperand},
	FollowInside:     {markOperand},
	FollowOutside:    {markOperand},
	CountReflections: {portOperand},
}

// Comment returns the comment that the rule has in the kernel, where nft(8) shows it. It is
// the operation and its operands, separated by spaces. A Foreign rule has its Text.
func (s Statement) Comment() string {
	if s.Op == Foreign {
		return string(s.Op) + ": " + s.Text
	}
	words := []string{string(s.Op)}
	for _, o := range operands[s.Op] {
		words = append(words, o.format(s))
	}
	return strings.Join(words, " ")
}

// ParseComment is the inverse of Comment. A Foreign rule has no inverse.
func ParseComment(comment string) (Statement, error) {
	for op, fields := range operands {
		rest, found := strings.CutPrefix(comment, string(op))
		words := strings.Fields(rest)
		if !found || len(words) != len(fields) {
			continue
		}
		s := Statement{Op: op}
		for i, f := range fields {
			if err := f.scan(words[i], &s); err != nil {
				return Statement{}, fmt.Errorf("comment %q of a firewall rule: %w", comment, err)
			}
		}
		if s.Comment() == comment {
			return s, nil
		}
	}
	return Statement{}, fmt.Errorf("comment %q is not that of a firewall rule of spanctl", comment)
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
	r := rules{link: scope.LinkName, marks: marks, subnet: in.Identity.Subnet, mtu: in.MTU, port: in.KubeSpan.ListenPort, neighbours: in.Neighbours}
	return Firewall{
		Table:  scope.FirewallTable,
		Chains: []Chain{r.outgoing(), r.prerouting(), r.counting(ArrivedChain, "prerouting", firstPriority), r.counting(AcceptedChain, "input", lastPriority)},
		Guard:  Guard{Table: scope.GuardTable, Chains: []Chain{r.guard()}},
	}
}

// rules makes the firewall rules of a mesh. Two chains are KubeSpan's. One is for packets that
// are forwarded or arrive. The other is for packets that this machine sends, which the kernel
// routes again when their mark changes.
//
// Both look first at the connection: a reply goes where the request came from, into the
// tunnel or not, regardless of the routed networks.
type rules struct {
	link       string
	marks      mesh.Marks
	subnet     netip.Prefix
	mtu        int
	port       int
	neighbours []Neighbour
}

func (r rules) outgoing() Chain {
	return Chain{Name: "kubespan_outgoing", Type: "route", Hook: "output", Priority: filterPriority, Statements: slices.Concat(
		[]Statement{{Op: DropLoop, Link: r.link, Mark: r.marks.Own, Mask: r.marks.Mask}},
		r.wireguard(),
		[]Statement{
			{Op: AcceptLoopback},
			{Op: AcceptNeighbours},
			{Op: ClampMSS, Family: IPv4, MSS: r.mtu - tcpHeaders4},
			{Op: ClampMSS, Family: IPv6, MSS: r.mtu - tcpHeaders6},
		}, r.route())}
}

func (r rules) prerouting() Chain {
	return Chain{Name: "kubespan_prerouting", Type: "filter", Hook: "prerouting", Priority: filterPriority, Statements: slices.Concat(
		r.wireguard(), r.note(), r.route())}
}

// counting counts the datagrams by which `spanctl doctor` tells whether a firewall in front of this
// machine drops what is for WireGuard, or this machine's own.
func (r rules) counting(name, hook string, priority int) Chain {
	return Chain{Name: name, Type: "filter", Hook: hook, Priority: priority, Statements: []Statement{{Op: CountReflections, Port: r.port}}}
}

// guard sees every packet that leaves, before any other program's rules for such packets. It
// accepts what the other chains leave outside of the tunnel.
func (r rules) guard() Chain {
	accept := []Statement{{Op: AcceptLink, Link: r.link}}
	for _, n := range r.neighbours {
		accept = append(accept, Statement{Op: AcceptLink, Link: n.LinkName})
	}
	return Chain{Name: "kubespan_guard", Type: "filter", Hook: "postrouting", Priority: rawPriority, Statements: slices.Concat(
		accept, r.wireguard(), []Statement{
			{Op: AcceptLoopback},
			{Op: AcceptNeighbours},
			{Op: FollowOutside, Mark: r.marks.Own, Mask: r.marks.Mask},
			{Op: DropClear, Family: IPv4},
			{Op: DropClear, Family: IPv6},
			{Op: DropSubnet, Subnet: r.subnet},
		})}
}

// wireguard accepts the packets of this mesh's WireGuard, and then those of other meshes.
func (r rules) wireguard() []Statement {
	accept := []Statement{{Op: AcceptMark, Mark: r.marks.Own, Mask: r.marks.Mask}}
	for _, n := range r.neighbours {
		accept = append(accept, Statement{Op: AcceptMark, Mark: n.Mark, Mask: n.Mask})
	}
	return accept
}

// note marks connections whose replies would otherwise not go where the request came from.
// The marks of all others are left alone: other programs may compare a mark as a whole.
func (r rules) note() []Statement {
	inside := Statement{Link: r.link, Mark: r.marks.Routed, Mask: r.marks.Mask}
	outside := Statement{Link: r.link, Mark: r.marks.Own, Mask: r.marks.Mask}
	with := func(s Statement, op Op, f Family, subnet netip.Prefix) Statement {
		s.Op, s.Family, s.Subnet = op, f, subnet
		return s
	}
	return []Statement{
		with(inside, MovedInside, 0, netip.Prefix{}),
		with(outside, MovedOutside, 0, netip.Prefix{}),
		with(inside, NoteInside, IPv4, netip.Prefix{}),
		with(inside, NoteInside, IPv6, r.subnet),
		with(outside, NoteOutside, IPv4, netip.Prefix{}),
		with(outside, NoteOutside, IPv6, netip.Prefix{}),
	}
}

// route marks replies, and packets to the routed networks.
func (r rules) route() []Statement {
	return []Statement{
		{Op: FollowInside, Mark: r.marks.Routed, Mask: r.marks.Mask},
		{Op: FollowOutside, Mark: r.marks.Own, Mask: r.marks.Mask},
		{Op: RouteMarked, Family: IPv4, Mark: r.marks.Routed, Mask: r.marks.Mask},
		{Op: RouteMarked, Family: IPv6, Mark: r.marks.Routed, Mask: r.marks.Mask},
	}
}
