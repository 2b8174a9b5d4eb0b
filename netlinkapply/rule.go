package netlinkapply

import (
	"errors"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

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
				continue
			}
			seen := state.Rule{Family: f, Priority: r.Priority, Mark: r.Mark, Table: r.Table}
			if r.Mask != nil {
				seen.Mask = *r.Mask
			}
			s.Rules = append(s.Rules, seen)
		}
	}
	return nil
}

func (k *Kernel) changeRule(c state.Change, r state.Rule) error {
	rule := netlink.NewRule()
	rule.Family = family(r.Family)
	rule.Priority = r.Priority
	rule.Mark, rule.Mask = r.Mark, &r.Mask
	rule.Table = r.Table
	rule.Protocol = state.Protocol
	if c.Action == state.Delete {
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
