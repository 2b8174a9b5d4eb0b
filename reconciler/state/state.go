package state

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Protocol marks the routes and rules that are spanctl's, in the field that
// rtnetlink(7) keeps for who made them. It is the number of KubeSpan's routing
// table; neither the kernel's header rtnetlink.h nor iproute2's rt_protos
// assigns it to anyone. KubeSpan on Talos uses "static" (4), which a routing
// daemon or an administrator uses too.
const Protocol = 180

// TableName is the nftables table (family inet) that is spanctl's.
const TableName = "spanctl"

// Scope says what spanctl owns in the kernel.
type Scope struct {
	// LinkName is the name of the WireGuard link.
	LinkName string
	// RoutingTable and RulePriority tell our routes and rules, along with Protocol.
	RoutingTable int
	RulePriority int
	// FirewallTable is the name of the nftables table.
	FirewallTable string
	// MarkMask covers the firewall marks that are ours, RoutedMark is that of packets
	// that go into the tunnel.
	MarkMask, RoutedMark uint32
}

// State is all that spanctl owns in the kernel of one machine. Its zero value
// is a machine without a mesh. Lists are in canonical order; see Normalize.
type State struct {
	Link      Link
	Addresses []netip.Prefix
	Routes    []Route
	Rules     []Rule
	Firewall  Firewall
	Peers     []Peer
	// StrictReversePath tells that the kernel drops what comes out of the tunnel
	// from addresses that the main table has elsewhere (rp_filter 1, of the
	// kernel's ip-sysctl documentation). It is only ever read.
	StrictReversePath bool
	// Conflicts are things of others that stand where ours are, or are to be.
	Conflicts []Conflict
}

// Conflict is something of others that is in the way.
type Conflict struct {
	// What it is and what can be done, for people.
	What, Remedy string
	// Bars tells that ours cannot work beside it. Else it is worth a warning.
	Bars bool
}

// Owned tells whether there is anything of ours.
func (s *State) Owned() bool {
	return s.Link.Name != "" || len(s.Routes) > 0 || len(s.Rules) > 0 || s.Firewall.Table != ""
}

// Link is the WireGuard link; an empty Name means that there is none.
type Link struct {
	Name         string
	Up           bool
	MTU          int
	PrivateKey   mesh.PrivateKey
	ListenPort   int
	FirewallMark uint32
}

// Family is an IP version.
type Family int

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) String() string { return fmt.Sprintf("ipv%d", int(f)) }

// Everything is the prefix of a default route.
func (f Family) Everything() netip.Prefix {
	if f == IPv4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// Families are both families, in canonical order.
var Families = []Family{IPv4, IPv6}

// FamilyOf is the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Route is a route over a link.
type Route struct {
	Family      Family
	Destination netip.Prefix
	Table       int
	Metric      int
	Link        string
	MTU         int
}

// routeKey is what tells routes apart for the kernel: a second route with the
// same key replaces the first.
type routeKey struct {
	family      Family
	destination netip.Prefix
	table       int
	metric      int
}

func (r Route) key() routeKey { return routeKey{r.Family, r.Destination, r.Table, r.Metric} }

// Rule sends packets with a mark to a routing table.
type Rule struct {
	Family   Family
	Priority int
	Mark     uint32
	Mask     uint32
	Table    int
}

// Peer is a WireGuard peer.
type Peer struct {
	PublicKey    mesh.Key
	PresharedKey mesh.PrivateKey
	// Endpoint is where WireGuard sends to. A desired peer's is set when the
	// peer is created, or when it has none; with Redirect it is set in any case.
	// Otherwise the live endpoint is left alone, since it may have roamed.
	Endpoint netip.AddrPort
	Redirect bool
	// Keepalive is in whole seconds; zero is off.
	Keepalive  time.Duration
	AllowedIPs []netip.Prefix
	// Label is a name for people; live peers have none.
	Label string
	// LastHandshake and the counters are read from the kernel, never compared.
	LastHandshake               time.Time
	ReceiveBytes, TransmitBytes int64
}

// Firewall is the nftables table with its set of routed networks. An empty
// Table means that there is none.
type Firewall struct {
	Table  string
	Chains []Chain
	// Networks are disjoint; packets to them go into the tunnel.
	Networks []netip.Prefix
}

// Chain is a base chain of the table, with the names that nft(8) uses.
type Chain struct {
	Name       string
	Type       string
	Hook       string
	Priority   int
	Statements []Statement
}

// Op is what a firewall rule does.
type Op string

// The operations.
const (
	// AcceptMark accepts packets with the mark.
	AcceptMark Op = "accept mark"
	// AcceptLoopback accepts packets that leave over lo.
	AcceptLoopback Op = "accept loopback"
	// ClampMSS lowers the TCP maximum segment size of connections to the routed networks.
	ClampMSS Op = "clamp mss"
	// RouteMarked sets the mark on packets to the routed networks and accepts them.
	RouteMarked Op = "route with mark"
	// AcceptNeighbours accepts the packets by which IPv6 finds who is on a link
	// (RFC 4861): a tunnel over that link cannot carry them.
	AcceptNeighbours Op = "accept neighbour discovery"
	// DropLoop drops WireGuard's own packets where a route would lead them into
	// the tunnel.
	DropLoop Op = "drop loop"
	// NoteInside marks connections that come out of the tunnel, NoteOutside those
	// that come in otherwise.
	NoteInside  Op = "note inside"
	NoteOutside Op = "note outside"
	// FollowInside sends replies of connections that came out of the tunnel back
	// into it, FollowOutside leaves the others alone.
	FollowInside  Op = "follow inside"
	FollowOutside Op = "follow outside"
	// Foreign is a rule that spanctl did not write; Text describes it.
	Foreign Op = "foreign rule"
)

// Statement is one firewall rule. Fields that its Op does not use are zero.
type Statement struct {
	Op     Op
	Family Family
	Mark   uint32
	Mask   uint32
	MSS    int
	Link   string
	Text   string
}

// String is the text by which nft(8) shows the rule's comment.
func (s Statement) String() string {
	switch s.Op {
	case AcceptMark, FollowInside, FollowOutside:
		return fmt.Sprintf("%s %#x/%#x", s.Op, s.Mark, s.Mask)
	case DropLoop, NoteInside, NoteOutside:
		return fmt.Sprintf("%s %#x/%#x %s", s.Op, s.Mark, s.Mask, s.Link)
	case ClampMSS:
		return fmt.Sprintf("%s %d %s", s.Op, s.MSS, s.Family)
	case RouteMarked:
		return fmt.Sprintf("%s %#x/%#x %s", s.Op, s.Mark, s.Mask, s.Family)
	case Foreign:
		return fmt.Sprintf("%s: %s", s.Op, s.Text)
	default:
		return string(s.Op)
	}
}

// ParseStatement is the inverse of String for every Op but Foreign.
func ParseStatement(text string) (Statement, error) {
	var s Statement
	var family int
	formats := []struct {
		op     Op
		layout string
		args   []any
	}{
		{AcceptMark, "accept mark 0x%x/0x%x", []any{&s.Mark, &s.Mask}},
		{ClampMSS, "clamp mss %d ipv%d", []any{&s.MSS, &family}},
		{RouteMarked, "route with mark 0x%x/0x%x ipv%d", []any{&s.Mark, &s.Mask, &family}},
		{AcceptLoopback, "accept loopback", nil},
		{AcceptNeighbours, "accept neighbour discovery", nil},
		{FollowInside, "follow inside 0x%x/0x%x", []any{&s.Mark, &s.Mask}},
		{FollowOutside, "follow outside 0x%x/0x%x", []any{&s.Mark, &s.Mask}},
		{DropLoop, "drop loop 0x%x/0x%x %s", []any{&s.Mark, &s.Mask, &s.Link}},
		{NoteInside, "note inside 0x%x/0x%x %s", []any{&s.Mark, &s.Mask, &s.Link}},
		{NoteOutside, "note outside 0x%x/0x%x %s", []any{&s.Mark, &s.Mask, &s.Link}},
	}
	for _, f := range formats {
		s, family = Statement{}, 0
		if n, err := fmt.Sscanf(text, f.layout, f.args...); err != nil || n != len(f.args) {
			continue
		}
		s.Op, s.Family = f.op, Family(family)
		if s.String() == text {
			return s, nil
		}
	}
	return Statement{}, fmt.Errorf("%q is not the text of a firewall rule of ours", text)
}
