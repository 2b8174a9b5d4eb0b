package state

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spanmesh/span/reconciler/condition"
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
	// Users is set when the rule is for a range of user IDs, which begins with FirstUser.
	Users     bool
	FirstUser uint32
	// Narrow is set when the rule has other selectors, such as ports.
	Narrow bool
	// Table is where the rule looks; 0 for a rule that refuses packets or jumps.
	Table int
	// Goto is the priority that the rule jumps to; 0 for none.
	Goto int
	// Refuses is set when the rule drops packets.
	Refuses bool
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
	word(r.InLink != "", "iif %s", r.InLink)
	word(r.Users, "uidrange %d-", r.FirstUser)
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
	selected := (!r.From.IsValid() || p.From.IsValid() && r.From.Contains(p.From)) &&
		(!r.To.IsValid() || r.To.Contains(p.To)) &&
		p.Mark&r.Mask == r.Mark &&
		(r.InLink == "" || r.InLink == p.InLink || r.InLink == loopback && p.InLink == "") &&
		(!r.Users || p.AsUser && p.User == r.FirstUser)
	return selected != r.Invert
}

// loopback is the link that this machine's own packets come from.
const loopback = "lo"

// Path is a question to the kernel: where does a packet go?
type Path struct {
	To netip.Addr
	// From is invalid if the machine chooses the source.
	From netip.Addr
	Mark uint32
	// InLink is where a packet comes from that this machine forwards; "" for its own packets.
	InLink string
	// AsUser is set when a process of User sends the packet.
	AsUser bool
	User   uint32
}

// Way is the kernel's answer. The zero value means that it has none.
type Way struct {
	// Link is where the packet leaves; "" if it is refused.
	Link string
	// Table is the routing table that decided; 0 if the packet is refused.
	Table int
	// Refused is set when the packet is dropped.
	Refused bool
}

const (
	// maxTraced is how many networks are traced for each rule.
	maxTraced = 64
	// maxRules is how many rules of other programs are traced.
	maxRules = 16
)

// Paths returns what to ask the kernel about the rules of other programs. For each rule, it has
// packets that the rule matches, to some of the routed networks and to the mesh's subnet. Own
// are this machine's addresses. The networks begin at the index first, so that all have a
// turn. Addresses that the last tracing found elsewhere, before, come first.
func Paths(scope Scope, desired *State, ahead []ForeignRule, own, before []netip.Addr, first int) []Path {
	var paths []Path
	asked := map[Path]bool{}
	targets := targets(desired, own, before, first)
	for _, r := range ahead[:min(len(ahead), maxRules)] {
		n := 0
		for _, to := range targets {
			p := r.path(to, own)
			p.Mark = scope.RoutedMark
			if desired.hasRuleTo(to) {
				p.Mark = 0
			}
			if n < maxTraced && r.matches(p) && !asked[p] {
				asked[p] = true
				paths = append(paths, p)
				n++
			}
		}
	}
	return paths
}

// path returns a path to an address that the rule may match.
func (r ForeignRule) path(to netip.Addr, own []netip.Addr) Path {
	p := Path{To: to, InLink: r.InLink, AsUser: r.Users, User: r.FirstUser}
	if r.InLink == loopback {
		p.InLink = ""
	}
	if r.From.IsValid() && !r.Invert {
		p.From = r.From.Addr()
		if i := slices.IndexFunc(own, r.From.Contains); i >= 0 {
			p.From = own[i]
		} else if !r.From.IsSingleIP() {
			p.From = p.From.Next()
		}
	}
	return p
}

// hasRuleTo reports whether a rule of spanctl's leads packets to the address whatever their mark.
func (s *State) hasRuleTo(a netip.Addr) bool {
	return slices.ContainsFunc(s.Rules, func(r Rule) bool { return r.To.IsValid() && r.To.Contains(a) })
}

// targets returns an address in each of some networks that are routed into the tunnel.
func targets(desired *State, own, before []netip.Addr, first int) []netip.Addr {
	networks := desired.Firewall.Networks
	var out []netip.Addr
	for _, a := range before {
		if desired.hasRuleTo(a) || slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) }) {
			out = append(out, a)
		}
	}
	for _, r := range desired.Rules {
		if r.To.IsValid() {
			out = append(out, inside(r.To, own))
		}
	}
	for i := range min(len(networks), 2*maxTraced) {
		out = append(out, inside(networks[(first+i)%len(networks)], own))
	}
	return slices.DeleteFunc(out, func(a netip.Addr) bool { return !a.IsValid() })
}

// inside returns an address in the network that is not one of own; invalid if there is none.
func inside(network netip.Prefix, own []netip.Addr) netip.Addr {
	a := network.Addr()
	if !network.IsSingleIP() {
		a = a.Next()
	}
	for slices.Contains(own, a) {
		a = a.Next()
	}
	if !network.Contains(a) {
		return netip.Addr{}
	}
	return a
}

// Shadowed returns a condition for each rule of another program that leads packets for the
// mesh elsewhere, and the addresses that showed it. Ways are the kernel's answers to paths.
func Shadowed(scope Scope, ahead []ForeignRule, paths []Path, ways []Way) ([]condition.Condition, []netip.Addr) {
	var found []condition.Condition
	var addresses []netip.Addr
	for i, p := range paths {
		if i >= len(ways) || ways[i] == (Way{}) || ways[i].Link == scope.LinkName || ways[i].Table == scope.RoutingTable {
			continue
		}
		at := slices.IndexFunc(ahead, func(r ForeignRule) bool { return r.matches(p) && r.decides(scope, ways[i]) })
		if at < 0 {
			continue
		}
		c := shadowed(ahead[at], p, ways[i])
		if slices.ContainsFunc(found, func(f condition.Condition) bool { return f.Subject == c.Subject }) {
			continue
		}
		found, addresses = append(found, c), append(addresses, p.To)
	}
	return found, addresses
}

// decides reports whether a rule that matches may have led to the way.
func (r ForeignRule) decides(scope Scope, w Way) bool {
	switch {
	case r.Refuses:
		return w.Refused
	case r.Goto != 0:
		return r.Goto > scope.RulePriority
	default:
		return w.Refused || r.Table == w.Table
	}
}

func shadowed(r ForeignRule, p Path, w Way) condition.Condition {
	out, dropped := "are refused", ""
	if w.Link != "" {
		dropped = "; spanctl drops them, so that none leaves in clear"
		out = fmt.Sprintf("leave by %s, through table %d,", w.Link, w.Table)
	}
	from := ""
	if p.From.IsValid() {
		from = fmt.Sprintf(" from %s", p.From)
	}
	remedy := fmt.Sprintf("remove the rule with `ip -%d rule del priority %d`, or give it a priority after that of spanctl", r.Family, r.Priority)
	if r.Priority > 1 {
		remedy = fmt.Sprintf("set machine.network.kubespan.rulePriority below %d, or remove that rule with `ip -%d rule del priority %d`",
			r.Priority, r.Family, r.Priority)
	}
	return condition.Condition{
		Code:    condition.RoutesShadowed,
		Subject: fmt.Sprintf("%s rule %d", r.Family, r.Priority),
		Cause: fmt.Sprintf("packets to %s%s %s and not through the mesh, because the %s rule %q of another program comes first "+
			"(a rule that is added without a priority comes before all others)%s", p.To, from, out, r.Family, r, dropped),
		Remedy: remedy,
	}
}
