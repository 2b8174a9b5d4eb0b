package netlinkapply

import (
	"errors"
	"fmt"

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
				continue
			}
			seen := state.Rule{Family: f, Priority: r.Priority, Mark: r.Mark, Table: r.Table}
			if r.Dst != nil {
				seen.To, _ = netipx.FromStdIPNet(r.Dst)
			}
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
