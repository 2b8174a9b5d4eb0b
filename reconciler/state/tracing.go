package state

import (
	"net/netip"
	"slices"
)

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
	// Protocol is 0 for any. Source and Destination are ports.
	Protocol            uint8
	Source, Destination uint16
	TOS                 uint8
	// Unmarked is set for the first look of two at where a packet of this machine goes: it has no
	// mark yet, and may only not be refused.
	Unmarked bool
}

// isAskable reports whether the kernel answers for the path's protocol.
func (p Path) isAskable() bool {
	return slices.Contains([]uint8{0, tcp, udp, icmp, icmpv6}, p.Protocol)
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
	// maxPaths is about how many questions there are at once. Of more rules, some have their turn
	// the next time.
	maxPaths = 1024
)

// Paths returns what to ask the kernel about the rules of other programs. For each rule, it has
// packets that the rule matches, to some of the routed networks and to the mesh's subnet. Own
// are this machine's addresses. Networks and rules begin at the index first, so that all have a
// turn. Paths that the last tracing found elsewhere, before, come first.
func Paths(scope Scope, desired *State, ahead []ForeignRule, own []netip.Addr, before []Path, first int) []Path {
	t := tracing{scope: scope, desired: desired, own: own, asked: map[Path]bool{}}
	for _, p := range before {
		if desired.routes(p.To) && slices.ContainsFunc(ahead, func(r ForeignRule) bool { return r.matches(p) }) {
			t.ask(p)
		}
	}
	t.targets = t.anywhere(first)
	each := max(1, min(maxTraced, maxPaths/max(1, len(ahead))))
	start := 0
	if len(ahead) > maxPaths {
		start = first % len(ahead)
	}
	for i := range min(len(ahead), maxPaths) {
		t.rule(ahead[(start+i)%len(ahead)], each)
	}
	return t.paths
}

// tracing collects paths.
type tracing struct {
	scope   Scope
	desired *State
	own     []netip.Addr
	// targets are addresses anywhere in the mesh.
	targets []netip.Addr
	paths   []Path
	asked   map[Path]bool
}

// ask adds a path, and reports whether it is new.
func (t *tracing) ask(p Path) bool {
	if t.asked[p] {
		return false
	}
	t.asked[p] = true
	t.paths = append(t.paths, p)
	return true
}

// rule adds at most a number of paths that a rule matches.
func (t *tracing) rule(r ForeignRule, most int) {
	targets := t.targets
	if r.To.IsValid() && !r.Invert {
		targets = t.within(r.To)
	}
	n := 0
	for _, to := range targets {
		if n == most {
			return
		}
		if p, matches := t.path(r, to); matches && t.ask(p) {
			n++
		}
	}
}

// path returns a path of a packet for the mesh to an address that the rule matches.
func (t *tracing) path(r ForeignRule, to netip.Addr) (p Path, matches bool) {
	p = r.path(to, t.own)
	if t.desired.hasRuleTo(to) {
		return p, r.matches(p)
	}
	p.Mark = t.scope.RoutedMark
	if r.matches(p) {
		return p, true
	}
	p.Mark, p.Unmarked = 0, true
	return p, r.Refuses && p.InLink == "" && r.matches(p)
}

// path returns a path to an address that the rule may match, without a mark.
func (r ForeignRule) path(to netip.Addr, own []netip.Addr) Path {
	p := Path{To: to, InLink: r.InLink, AsUser: r.Users, User: r.FirstUser}
	if r.InLink == loopback {
		p.InLink = ""
	}
	if r.Invert {
		// The kernel takes a question without a protocol for one about UDP.
		if r.Protocol == udp {
			p.Protocol = tcp
		}
		return p
	}
	if r.From.IsValid() {
		p.From = r.From.Addr()
		if i := slices.IndexFunc(own, r.From.Contains); i >= 0 {
			p.From = own[i]
		} else if !r.From.IsSingleIP() {
			p.From = p.From.Next()
		}
	}
	p.TOS, p.Protocol, p.Source, p.Destination = r.TOS, r.Protocol, r.Source.First, r.Destination.First
	if p.Protocol == 0 && (p.Source != 0 || p.Destination != 0) {
		p.Protocol = tcp
	}
	return p
}

// hasRuleTo reports whether a rule of spanctl's leads packets to the address whatever their mark.
func (s *State) hasRuleTo(a netip.Addr) bool {
	return slices.ContainsFunc(s.Rules, func(r Rule) bool { return r.To.IsValid() && r.To.Contains(a) })
}

// routes reports whether packets to the address go into the tunnel.
func (s *State) routes(a netip.Addr) bool {
	return s.hasRuleTo(a) || slices.ContainsFunc(s.Firewall.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// anywhere returns an address in the mesh's subnet, and in each of some networks from the index
// first on.
func (t *tracing) anywhere(first int) []netip.Addr {
	var out []netip.Addr
	for _, r := range t.desired.Rules {
		if r.To.IsValid() {
			out = t.add(out, r.To)
		}
	}
	networks := t.desired.Firewall.Networks
	for i := range min(len(networks), 2*maxTraced) {
		out = t.add(out, networks[(first+i)%len(networks)])
	}
	return out
}

// within returns an address in each of some parts of the network that are routed into the tunnel.
func (t *tracing) within(network netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, r := range t.desired.Rules {
		if r.To.IsValid() && r.To.Overlaps(network) {
			out = t.add(out, longer(r.To, network))
		}
	}
	networks := t.desired.Firewall.Networks // sorted and disjoint
	i, _ := slices.BinarySearchFunc(networks, network, comparePrefixes)
	for i = max(0, i-1); i < len(networks) && len(out) < maxTraced; i++ {
		if networks[i].Overlaps(network) {
			out = t.add(out, longer(networks[i], network))
		} else if network.Masked().Addr().Less(networks[i].Addr()) {
			break
		}
	}
	return out
}

// longer returns the one of two networks that overlap that is in the other.
func longer(a, b netip.Prefix) netip.Prefix {
	if a.Bits() > b.Bits() {
		return a
	}
	return b
}

// add adds an address in the network that is not this machine's, if there is one.
func (t *tracing) add(out []netip.Addr, network netip.Prefix) []netip.Addr {
	if a := inside(network, t.own); a.IsValid() {
		return append(out, a)
	}
	return out
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
