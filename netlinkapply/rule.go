package netlinkapply

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

func (k *Kernel) observeRules(s *state.State, scope state.Scope) error {
	for _, f := range state.Families {
		rules, err := dump(func() ([]netlink.Rule, error) { return k.handle.RuleList(family(f)) })
		if err != nil {
			return err
		}
		for _, r := range rules {
			if r.Priority != scope.RulePriority || r.Protocol != state.Protocol {
				s.Conditions = append(s.Conditions, foreignRule(scope, f, r)...)
				if r.Priority < scope.RulePriority && r.Table != unix.RT_TABLE_LOCAL {
					s.Ahead = append(s.Ahead, ahead(f, r))
				}
				continue
			}
			seen := state.Rule{Family: f, Priority: r.Priority, Mark: r.Mark, To: prefix(r.Dst), Table: r.Table}
			if r.Mask != nil {
				seen.Mask = *r.Mask
			}
			s.Rules = append(s.Rules, seen)
		}
	}
	return nil
}

// foreignRule returns the condition of another program's rule that collides with those of
// spanctl, if it does.
func foreignRule(scope state.Scope, f state.Family, r netlink.Rule) []condition.Condition {
	switch {
	case r.Priority == scope.RulePriority:
		return []condition.Condition{{
			Code:     condition.RulePriorityTaken,
			Subject:  f.String(),
			Cause:    fmt.Sprintf("an %s rule of another program has the priority %d", f, r.Priority),
			Remedy:   "set machine.network.kubespan.rulePriority to an unused number",
			Blocking: true,
		}}
	case r.Mark != 0 && r.Mask != nil && *r.Mask != fullMask && *r.Mask&scope.MarkMask != 0:
		return []condition.Condition{{
			Code:    condition.MarkShared,
			Subject: fmt.Sprintf("%s rule %d", f, r.Priority),
			Cause: fmt.Sprintf("the %s rule with priority %d matches the mark %#x/%#x, which shares bits with spanctl's %#x",
				f, r.Priority, r.Mark, *r.Mask, scope.MarkMask),
			Remedy: "set machine.network.kubespan.fwmark to an unused bit",
		}}
	default:
		return nil
	}
}

// fullMask is the mask of rules without one. They are no conflict.
const fullMask = 0xffffffff

func (k *Kernel) changeRule(c state.RuleChange) error {
	deleted := c.Action() == state.Delete
	r := c.New
	if deleted {
		r = c.Old
	}
	rule := netlink.NewRule()
	rule.Family = family(r.Family)
	rule.Priority = r.Priority
	if r.Mask != 0 {
		rule.Mark, rule.Mask = r.Mark, &r.Mask
	}
	if r.To.IsValid() {
		rule.Dst = netipx.PrefixIPNet(r.To)
	}
	rule.Table = r.Table
	rule.Protocol = state.Protocol
	if deleted {
		err := k.handle.RuleDel(rule)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	err := k.handle.RuleAdd(rule)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// ahead returns a rule of another program.
func ahead(f state.Family, r netlink.Rule) state.ForeignRule {
	foreign := state.ForeignRule{Family: f, Priority: r.Priority, From: prefix(r.Src), To: prefix(r.Dst), Mark: r.Mark,
		Invert: r.Invert, InLink: r.IifName, Table: r.Table, Goto: max(r.Goto, 0)}
	if r.Mask != nil {
		foreign.Mask = *r.Mask
	}
	if r.UIDRange != nil {
		foreign.Users, foreign.FirstUser = true, r.UIDRange.Start
	}
	switch r.Type {
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
		foreign.Refuses, foreign.Table = true, 0
	}
	foreign.Narrow = r.OifName != "" || r.Tos != 0 || r.TunID != 0 || r.IPProto != 0 || r.Dport != nil || r.Sport != nil
	return foreign
}

// prefix returns a network of the netlink library; invalid for none.
func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	p, _ := netipx.FromStdIPNet(n)
	return p
}

// refusals are the errors of a packet that a rule or a route refuses. EINVAL is that of a
// blackhole, and of a question that makes no sense.
var refusals = []error{unix.EACCES, unix.EHOSTUNREACH, unix.ENETUNREACH}

// Trace asks the kernel where packets go. Nothing is sent. A way is zero if the kernel does not
// say.
func (k *Kernel) Trace(paths []state.Path) []state.Way {
	ways := make([]state.Way, len(paths))
	names := map[int]string{}
	for i, p := range paths {
		question := k.question(p)
		routes, err := k.handle.RouteGetWithOptions(p.To.AsSlice(), question)
		switch {
		case err != nil:
			// Packets of others are refused for further reasons, such as their source.
			own := question.Iif == "" && question.IifIndex == 0
			ways[i].Refused = own && slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) })
		case len(routes) > 0:
			ways[i] = k.way(routes[0], names)
		}
	}
	return ways
}

// way returns the kernel's answer. Names are those of links by index, so that each is read once.
func (k *Kernel) way(r netlink.Route, names map[int]string) state.Way {
	if r.Type == unix.RTN_BLACKHOLE || r.Type == unix.RTN_UNREACHABLE || r.Type == unix.RTN_PROHIBIT {
		return state.Way{Refused: true, Table: r.Table}
	}
	if _, known := names[r.LinkIndex]; !known {
		link, err := k.handle.LinkByIndex(r.LinkIndex)
		if err != nil {
			return state.Way{}
		}
		names[r.LinkIndex] = link.Attrs().Name
	}
	return state.Way{Link: names[r.LinkIndex], Table: r.Table}
}

// question returns the options of a path.
func (k *Kernel) question(p state.Path) *netlink.RouteGetOptions {
	options := &netlink.RouteGetOptions{Mark: p.Mark, Iif: p.InLink}
	if p.AsUser {
		options.UID = &p.User
	}
	from := p.From
	if p.InLink != "" && !from.IsValid() {
		from = k.neighbour(p.InLink, state.FamilyOf(p.To))
	}
	if from.IsValid() {
		options.SrcAddr = from.AsSlice()
		if p.InLink == "" {
			options.IifIndex = k.comesFrom(from)
		}
	}
	return options
}

// neighbour returns an address that a machine on the link may have; invalid if unknown.
func (k *Kernel) neighbour(name string, f state.Family) netip.Addr {
	link, err := k.handle.LinkByName(name)
	if err != nil {
		return netip.Addr{}
	}
	addresses, err := k.handle.AddrList(link, family(f))
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range addresses {
		if own, ok := netipx.FromStdIP(a.IP); ok && !prefix(a.IPNet).IsSingleIP() && !own.IsLinkLocalUnicast() {
			if next := own.Next(); prefix(a.IPNet).Contains(next) {
				return next
			}
			return own.Prev()
		}
	}
	return netip.Addr{}
}

// comesFrom returns the index of the link from which packets of a source come; 0 if it is this
// machine itself.
func (k *Kernel) comesFrom(source netip.Addr) int {
	routes, err := k.handle.RouteGet(source.AsSlice())
	if err != nil || len(routes) == 0 || routes[0].Type == unix.RTN_LOCAL {
		return 0
	}
	return routes[0].LinkIndex
}
