package state

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Firewall is the nftables table with its set of routed networks. An empty
// Table means that there is none.
type Firewall struct {
	Table  string
	Chains []Chain
	// Networks are disjoint; packets to them go into the tunnel.
	Networks []netip.Prefix
}

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
	// NoteInside marks connections that arrive through the tunnel.
	NoteInside Op = "note inside"
	// NoteOutside marks connections that arrive over another link.
	NoteOutside Op = "note outside"
	// FollowInside sends replies of connections that arrived through the tunnel back into it.
	FollowInside Op = "follow inside"
	// FollowOutside accepts replies of connections that arrived over another link.
	FollowOutside Op = "follow outside"
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
	linkOperand = operand{
		format: func(s Statement) string { return s.Link },
		scan:   func(text string, s *Statement) error { s.Link = text; return nil },
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
	NoteInside:       {markOperand, linkOperand},
	NoteOutside:      {markOperand, linkOperand},
	FollowInside:     {markOperand},
	FollowOutside:    {markOperand},
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

// chains are KubeSpan's two nftables chains: one for packets that are forwarded or
// arrive, one for packets that this machine sends, which the kernel routes again when
// their mark changes.
//
// Both look first at the connection: a reply goes where the request came from, into the
// tunnel or not, regardless of the routed networks.
func chains(linkName string, marks mesh.Marks, mtu int) []Chain {
	own := Statement{Op: AcceptMark, Mark: marks.Own, Mask: marks.Mask}
	route := func(f Family) Statement {
		return Statement{Op: RouteMarked, Family: f, Mark: marks.Routed, Mask: marks.Mask}
	}
	follow := []Statement{
		{Op: FollowInside, Mark: marks.Routed, Mask: marks.Mask},
		{Op: FollowOutside, Mark: marks.Own, Mask: marks.Mask},
	}
	const filterPriority = 0 // nft(8): the standard priority "filter"
	return []Chain{
		{Name: "kubespan_outgoing", Type: "route", Hook: "output", Priority: filterPriority, Statements: slices.Concat([]Statement{
			{Op: DropLoop, Link: linkName, Mark: marks.Own, Mask: marks.Mask},
			own,
			{Op: AcceptLoopback},
			{Op: AcceptNeighbours},
			{Op: ClampMSS, Family: IPv4, MSS: mtu - tcpHeaders4},
			{Op: ClampMSS, Family: IPv6, MSS: mtu - tcpHeaders6},
		}, follow, []Statement{route(IPv4), route(IPv6)})},
		{Name: "kubespan_prerouting", Type: "filter", Hook: "prerouting", Priority: filterPriority, Statements: slices.Concat([]Statement{
			own,
			{Op: NoteInside, Link: linkName, Mark: marks.Routed, Mask: marks.Mask},
			{Op: NoteOutside, Link: linkName, Mark: marks.Own, Mask: marks.Mask},
		}, follow, []Statement{route(IPv4), route(IPv6)})},
	}
}
