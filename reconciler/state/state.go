package state

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
)

// Protocol marks routes and rules as spanctl's: rtnetlink(7) has a field for the
// program that made them. It is the number of KubeSpan's routing table. Neither the
// kernel's header rtnetlink.h nor iproute2's rt_protos assigns it. KubeSpan on Talos
// uses "static" (4), which routing daemons and administrators use too.
const Protocol = 180

// The names of nftables tables (family inet) that spanctl owns or once owned. Two meshes on a
// machine have links, and so tables, of different names.
const (
	tablePrefix = "spanctl-"
	guardPrefix = "spanguard-"
	// FormerTable is the name that the table had in earlier versions, whatever the link.
	FormerTable = "spanctl"
)

// TableName returns the name of the nftables table of the mesh on a link. With the longest name
// of a link it has 23 characters; nftables takes 31.
func TableName(linkName string) string { return tablePrefix + linkName }

// GuardName returns the name of the nftables table that drops what would leave in clear.
func GuardName(linkName string) string { return guardPrefix + linkName }

// LinkOfTable returns the name of the link whose mesh a table belongs to. It is false for a
// table that is not spanctl's.
func LinkOfTable(table string) (linkName string, ok bool) {
	if linkName, ok = strings.CutPrefix(table, tablePrefix); ok {
		return linkName, true
	}
	return strings.CutPrefix(table, guardPrefix)
}

// Scope is what spanctl owns in the kernel.
type Scope struct {
	// LinkName is the name of the WireGuard link.
	LinkName string
	// RoutingTable is the number of the routing table; the routes in it that have Protocol are
	// spanctl's.
	RoutingTable int
	// RulePriority is the priority of the routing rules; those that have Protocol are spanctl's.
	RulePriority int
	// FirewallTable and GuardTable are the names of the nftables tables.
	FirewallTable string
	GuardTable    string
	// FormerLink is the name that the link has just had; "" if none. The tables of its mesh
	// are replaced by those of LinkName, and not deleted before.
	FormerLink string
	// MarkMask has the bits of the firewall mark that spanctl uses.
	MarkMask uint32
	// RoutedMark is the mark of packets that are routed into the tunnel.
	RoutedMark uint32
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
	// StrictReversePath is read from the kernel only. It is set when the kernel drops packets
	// from the tunnel whose source the main routing table has on another link (rp_filter 1,
	// of the kernel's ip-sysctl documentation).
	StrictReversePath bool
	// IPv6Off is read from the kernel only. It is set when IPv6 is disabled on the link, or
	// would be on a new one.
	IPv6Off bool
	// Ahead are read from the kernel only: rules of other programs that come before those of
	// spanctl, in the kernel's order.
	Ahead []ForeignRule
	// Conditions are read from the kernel only, such as objects of other programs that
	// collide with those of spanctl.
	Conditions []condition.Condition
	// Neighbours are read from the kernel only: the other meshes of the machine, by link.
	Neighbours []Neighbour
}

// Owned reports whether s has any object of spanctl's.
func (s *State) Owned() bool {
	return s.Link.Name != "" || len(s.Routes) > 0 || len(s.Rules) > 0 || s.Firewall.exists()
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

// Everything returns the prefix of a default route.
func (f Family) Everything() netip.Prefix {
	if f == IPv4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// Families are both families, in canonical order.
var Families = []Family{IPv4, IPv6}

// FamilyOf returns the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Route is a route over a link, or one that refuses packets.
type Route struct {
	Family Family
	// Type is the kind of the route.
	Type        RouteType
	Destination netip.Prefix
	Table       int
	Metric      int
	Link        string
	MTU         int
}

// RouteType is what a route does with packets, in the words of ip-route(8).
type RouteType string

// The types that spanctl uses.
const (
	// Unicast sends packets over the link. It is the zero value.
	Unicast RouteType = ""
	// Local delivers packets to this machine.
	Local RouteType = "local"
	// Unreachable refuses packets. It has no link.
	Unreachable RouteType = "unreachable"
)

// routeKey identifies a route to the kernel: a route with the same key replaces
// the first.
type routeKey struct {
	family      Family
	destination netip.Prefix
	table       int
	metric      int
}

func (r Route) key() routeKey { return routeKey{r.Family, r.Destination, r.Table, r.Metric} }

// Rule sends packets with a mark, or to a network, to a routing table.
type Rule struct {
	Family   Family
	Priority int
	// Mark and Mask are zero if the rule does not look at marks.
	Mark uint32
	Mask uint32
	// To is invalid if the rule does not look at destinations.
	To    netip.Prefix
	Table int
}

// Peer is a WireGuard peer.
type Peer struct {
	PublicKey    mesh.Key
	PresharedKey mesh.PrivateKey
	// Endpoint is where WireGuard sends to. A desired endpoint is set when the peer is created
	// or has none. Otherwise the live endpoint stays, since it may have roamed.
	Endpoint netip.AddrPort
	// Redirect makes a desired Endpoint replace the live one.
	Redirect bool
	// Renew makes a peer that exists anew, which ends its session and begins another.
	Renew bool
	// Keepalive is in whole seconds; zero is off.
	Keepalive  time.Duration
	AllowedIPs []netip.Prefix
	// Label is a name for display; live peers have none.
	Label string
	// LastHandshake and the counters are read from the kernel and not compared.
	LastHandshake               time.Time
	ReceiveBytes, TransmitBytes int64
}

// IsMachine reports whether a live peer was made for a machine, and not for a relay that cannot read what
// it carries.
func (p *Peer) IsMachine() bool { return !p.PresharedKey.IsZero() || len(p.AllowedIPs) > 0 }
