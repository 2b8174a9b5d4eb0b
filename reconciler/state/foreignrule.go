package state

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ForeignRule is a routing rule of another program that comes before those of spanctl.
// Selectors that are zero match everything.
type ForeignRule struct {
	Family   Family
	Priority int
	From, To netip.Prefix
	// Mark and Mask are zero if the rule does not look at marks.
	Mark, Mask uint32
	// Invert is set when the rule matches packets that do not match its selectors ("not").
	Invert bool
	// InLink is the link that packets come from ("iif"). "lo" is this machine itself.
	InLink string
	// Users is set when the rule is for a range of user IDs.
	Users               bool
	FirstUser, LastUser uint32
	// Protocol is that of the packets, such as 6 for TCP; Source and Destination are their ports.
	Protocol            uint8
	Source, Destination Ports
	// TOS is the type of service (RFC 1349).
	TOS uint8
	// Narrow is set when the rule has selectors that no packet for the mesh has, such as an
	// outgoing link.
	Narrow bool
	// Table is where the rule looks; 0 for a rule that refuses packets or jumps.
	Table int
	// Goto is the priority that the rule jumps to; 0 for none.
	Goto int
	// Refuses is set when the rule drops packets.
	Refuses bool
}

// Ports is a range of ports; zero for all.
type Ports struct{ First, Last uint16 }

// has reports whether a port is in the range.
func (p Ports) has(port uint16) bool { return p == (Ports{}) || p.First <= port && port <= p.Last }

// String returns the range in the words of ip-rule(8).
func (p Ports) String() string {
	if p.First == p.Last {
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// String returns the rule in the words of ip-rule(8).
func (r ForeignRule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:", r.Priority)
	word := func(present bool, format string, args ...any) {
		if present {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	word(r.Invert, "not")
	word(r.From.IsValid(), "from %s", r.From)
	word(!r.From.IsValid(), "from all")
	word(r.To.IsValid(), "to %s", r.To)
	word(r.Mask != 0, "fwmark %#x/%#x", r.Mark, r.Mask)
	word(r.TOS != 0, "tos %#x", r.TOS)
	word(r.InLink != "", "iif %s", r.InLink)
	word(r.Users, "uidrange %d-%d", r.FirstUser, r.LastUser)
	word(r.Protocol != 0, "ipproto %s", protocolName(r.Protocol))
	word(r.Source != Ports{}, "sport %s", r.Source)
	word(r.Destination != Ports{}, "dport %s", r.Destination)
	word(r.Goto != 0, "goto %d", r.Goto)
	word(r.Refuses, "refuse")
	word(r.Table != 0, "lookup %d", r.Table)
	return b.String()
}

// matches reports whether a packet that takes the path matches the rule.
func (r ForeignRule) matches(p Path) bool {
	if r.Narrow || FamilyOf(p.To) != r.Family {
		return false
	}
	selected := r.hasEnds(p) && r.hasSender(p) && r.hasKind(p) && p.Mark&r.Mask == r.Mark
	return selected != r.Invert
}

// hasEnds reports whether the addresses of a packet are those of the rule.
func (r ForeignRule) hasEnds(p Path) bool {
	return (!r.From.IsValid() || p.From.IsValid() && r.From.Contains(p.From)) && (!r.To.IsValid() || r.To.Contains(p.To))
}

// hasSender reports whether a packet comes from the rule's link and user.
func (r ForeignRule) hasSender(p Path) bool {
	return (r.InLink == "" || r.InLink == p.InLink || r.InLink == loopback && p.InLink == "") &&
		(!r.Users || p.AsUser && r.FirstUser <= p.User && p.User <= r.LastUser)
}

// hasKind reports whether a packet has the rule's protocol, ports and type of service.
func (r ForeignRule) hasKind(p Path) bool {
	return (r.TOS == 0 || r.TOS == p.TOS) && (r.Protocol == 0 || r.Protocol == p.Protocol) &&
		r.Source.has(p.Source) && r.Destination.has(p.Destination)
}

// isPartial reports whether the rule is for a part of the connections to an address only, which
// others may not miss.
func (r ForeignRule) isPartial() bool {
	return !r.Invert && (r.TOS != 0 || r.Users || r.Source != Ports{} || r.Destination != Ports{} || r.Protocol != 0 && r.Protocol != tcp && r.Protocol != udp)
}

// The protocols that the kernel can be asked about (RFC 790, RFC 2460).
const (
	icmp   = 1
	tcp    = 6
	udp    = 17
	icmpv6 = 58
)

// protocolName returns the name of a protocol, or its number.
func protocolName(p uint8) string {
	if name, known := map[uint8]string{icmp: "icmp", tcp: "tcp", udp: "udp", icmpv6: "ipv6-icmp"}[p]; known {
		return name
	}
	return strconv.Itoa(int(p))
}

// loopback is the link that this machine's own packets come from.
const loopback = "lo"
