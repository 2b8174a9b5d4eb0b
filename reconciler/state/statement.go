package state

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Statement is one firewall rule. Fields that its Op does not use are zero.
type Statement struct {
	Op     Op
	Family Family
	Mark   uint32
	Mask   uint32
	// Port is a UDP port. Where packets come from it, 0 is any.
	Port     int
	Protocol IPProtocol
	// MSS is a TCP maximum segment size in bytes.
	MSS int
	// Link is the name of an interface.
	Link string
	// Subnet is that of the mesh addresses; invalid for none.
	Subnet netip.Prefix
	// Text shows the expressions of a Foreign rule.
	Text string
}

// IPProtocol is the name of an IP protocol, as nft(8) has it.
type IPProtocol string

// The protocols that replies in clear are of.
const (
	TCP    IPProtocol = "tcp"
	ICMP   IPProtocol = "icmp"
	ICMPv6 IPProtocol = "icmpv6"
)

// echoOf returns the protocol that a family has echoes in.
func echoOf(f Family) IPProtocol {
	if f == IPv6 {
		return ICMPv6
	}
	return ICMP
}

// Op is what a firewall rule does.
type Op string

// The operations. Each has its fields in operands below, and its nftables expressions in
// netlinkapply/firewall/expr.go.
const (
	// AcceptWireGuard accepts UDP packets with the mark from the port.
	AcceptWireGuard Op = "accept wireguard"
	// AcceptAgent accepts packets with the mark from sockets of an agent of spanctl.
	AcceptAgent Op = "accept agent"
	// AcceptMark is of earlier versions, and only read: it accepts packets with the mark.
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
	// DropOwnLoop drops WireGuard's own packets that a route would send into the tunnel.
	DropOwnLoop Op = "drop own loop"
	// DropLoop is of earlier versions, and only read: it drops packets with the mark that a route
	// would send into the tunnel.
	DropLoop Op = "drop loop"
	// DropBare drops UDP packets from the port to the routed networks. They are WireGuard's
	// without their mark, and would go into the tunnel that they are of.
	DropBare Op = "drop bare"
	// NoteInside marks connections that arrive through the tunnel, other than from the mesh
	// addresses, to which everything goes into it anyway.
	NoteInside Op = "note inside"
	// NoteOutside marks connections of the protocol that arrive over another link from an address
	// in the routed networks, and not through the tunnel before.
	NoteOutside Op = "note outside"
	// NoteWireGuard marks WireGuard's connections with the machines of the routed networks. No other
	// rule looks at that: programs that give packets the marks of their connections keep the mark
	// of WireGuard's own by it.
	NoteWireGuard Op = "note wireguard"
	// MovedOutside replaces the mark of a connection that arrived through the tunnel and now over
	// another link, from an address that is not in the routed networks any more.
	MovedOutside Op = "moved outside"
	// FollowInside sends replies of connections that arrived through the tunnel back into it.
	FollowInside Op = "follow inside"
	// FollowOutside accepts replies of the protocol in connections that arrived over another link.
	// A TCP packet that begins a connection is no reply, whoever sent one with its addresses before.
	FollowOutside Op = "follow outside"
	// DropForged drops packets from the mesh addresses that arrive over another link.
	DropForged Op = "drop forged"
	// AcceptLink accepts packets that leave over the link.
	AcceptLink Op = "accept link"
	// DropMarked drops packets with the mark to the routed networks.
	DropMarked Op = "drop marked in clear"
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
	linkOperand = operand{
		format: func(s Statement) string { return s.Link },
		scan:   func(text string, s *Statement) error { s.Link = text; return nil },
	}
	portOperand = operand{
		format: func(s Statement) string { return strconv.Itoa(s.Port) },
		scan: func(text string, s *Statement) (err error) {
			s.Port, err = strconv.Atoi(text)
			return err
		},
	}
	protocolOperand = operand{
		format: func(s Statement) string { return string(s.Protocol) },
		scan: func(text string, s *Statement) error {
			s.Protocol = IPProtocol(text)
			if s.Protocol != TCP && s.Protocol != ICMP && s.Protocol != ICMPv6 {
				return fmt.Errorf("unknown protocol %q", text)
			}
			return nil
		},
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
	AcceptWireGuard:  {markOperand, portOperand},
	AcceptAgent:      {markOperand},
	AcceptMark:       {markOperand},
	AcceptLoopback:   {},
	ClampMSS:         {mssOperand, familyOperand},
	RouteMarked:      {markOperand, familyOperand},
	AcceptNeighbours: {},
	DropOwnLoop:      {markOperand, portOperand, linkOperand},
	DropLoop:         {markOperand, linkOperand},
	DropBare:         {portOperand, familyOperand},
	NoteInside:       {markOperand, linkOperand, familyOperand, subnetOperand},
	NoteOutside:      {markOperand, linkOperand, familyOperand, protocolOperand},
	NoteWireGuard:    {markOperand, portOperand, linkOperand, familyOperand},
	MovedOutside:     {markOperand, linkOperand, familyOperand},
	DropForged:       {linkOperand, subnetOperand},
	AcceptLink:       {linkOperand},
	DropMarked:       {markOperand, familyOperand},
	DropClear:        {familyOperand},
	DropSubnet:       {subnetOperand},
	FollowInside:     {markOperand},
	FollowOutside:    {markOperand, protocolOperand},
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
