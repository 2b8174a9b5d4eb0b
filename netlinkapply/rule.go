package netlinkapply

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	genericnetlink "github.com/mdlayher/netlink"
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
	return markRefusing(s.Ahead)
}

// markRefusing finds the rules that drop packets, which the netlink library reads as rules without
// a table.
func markRefusing(rules []state.ForeignRule) error {
	leadsNowhere := func(r state.ForeignRule) bool { return r.Table == 0 && r.Goto == 0 }
	if !slices.ContainsFunc(rules, leadsNowhere) {
		return nil
	}
	refusing, err := refusingRules()
	if err != nil {
		return err
	}
	for i := range rules {
		r := &rules[i]
		r.Refuses = leadsNowhere(*r) && refusing[ruleKey{r.Family, r.Priority}]
	}
	return nil
}

// ruleKey is what identifies a rule, without its selectors that are no numbers.
type ruleKey struct {
	family   state.Family
	priority int
}

// Offsets and values of a message about a rule (struct fib_rule_hdr and its actions,
// fib_rules.h).
const (
	ruleHeaderSize   = 12
	ruleActionOffset = 7
	rulePriority     = 6 // FRA_PRIORITY
)

// refusingRules returns the rules of the types blackhole, unreachable and prohibit.
func refusingRules() (map[ruleKey]bool, error) {
	conn, err := genericnetlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	defer func() { _ = conn.Close() }()
	found := map[ruleKey]bool{}
	for _, f := range state.Families {
		header := make([]byte, ruleHeaderSize)
		header[0] = uint8(family(f))
		replies, err := conn.Execute(genericnetlink.Message{
			Header: genericnetlink.Header{Type: unix.RTM_GETRULE, Flags: genericnetlink.Request | genericnetlink.Dump}, Data: header})
		if err != nil {
			return nil, fmt.Errorf("list rules: %w", err)
		}
		for _, m := range replies {
			if len(m.Data) < ruleHeaderSize || !slices.Contains([]uint8{unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT}, m.Data[ruleActionOffset]) {
				continue
			}
			d, err := genericnetlink.NewAttributeDecoder(m.Data[ruleHeaderSize:])
			if err != nil {
				return nil, fmt.Errorf("list rules: %w", err)
			}
			key := ruleKey{family: f} // priority 0 is not told
			for d.Next() {
				if d.Type() == rulePriority {
					key.priority = int(d.Uint32())
				}
			}
			found[key] = d.Err() == nil
		}
	}
	return found, nil
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
	case r.Mark == 0 || r.Mask == nil || *r.Mask == fullMask || *r.Mask&scope.MarkMask == 0:
		return nil
	case r.Protocol == state.Protocol:
		return []condition.Condition{{
			Code:    condition.MarkShared,
			Subject: fmt.Sprintf("%s rule %d", f, r.Priority),
			Cause: fmt.Sprintf("the %s rule with priority %d, left by an earlier config of spanctl or of another mesh here, matches the mark %#x/%#x, which shares bits with spanctl's %#x",
				f, r.Priority, r.Mark, *r.Mask, scope.MarkMask),
			Remedy: fmt.Sprintf("`spanctl reload` removes what an earlier config of this mesh left; if it stays and no other mesh uses it, `ip -%s rule del priority %d`",
				strings.TrimPrefix(f.String(), "ipv"), r.Priority),
		}}
	default:
		return []condition.Condition{{
			Code:    condition.MarkShared,
			Subject: fmt.Sprintf("%s rule %d", f, r.Priority),
			Cause: fmt.Sprintf("the %s rule with priority %d matches the mark %#x/%#x, which shares bits with spanctl's %#x",
				f, r.Priority, r.Mark, *r.Mask, scope.MarkMask),
			Remedy: "set machine.network.kubespan.fwmark to an unused bit",
		}}
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
		Invert: r.Invert, InLink: r.IifName, Table: max(r.Table, 0), Goto: max(r.Goto, 0)}
	if r.Mask != nil {
		foreign.Mask = *r.Mask
	}
	if r.UIDRange != nil {
		foreign.Users, foreign.FirstUser, foreign.LastUser = true, r.UIDRange.Start, r.UIDRange.End
	}
	foreign.TOS, foreign.Protocol, foreign.Source, foreign.Destination = uint8(r.Tos), uint8(r.IPProto), ports(r.Sport), ports(r.Dport)
	foreign.Narrow = r.OifName != "" || r.TunID != 0
	return foreign
}

// ports returns a range of the netlink library.
func ports(r *netlink.RulePortRange) state.Ports {
	if r == nil {
		return state.Ports{}
	}
	return state.Ports{First: r.Start, Last: r.End}
}

// prefix returns a network of the netlink library; invalid for none.
func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	p, _ := netipx.FromStdIPNet(n)
	return p
}
