package reconciler

import (
	"context"
	"fmt"
	"slices"

	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/state"
)

// Move removes what is under the marks of before and not under those of after. Where the
// link stays, so do its peers, and routes and rules are moved. The nftables tables stay until the
// next pass replaces them, so that nothing leaves in clear meanwhile.
func (e *Engine) Move(ctx context.Context, before, after state.Scope) (*Pass, error) {
	if err := e.claim(before.LinkName, after.LinkName); err != nil {
		return nil, err
	}
	renamed := before.LinkName != after.LinkName
	if renamed {
		e.formerLink = before.LinkName
	}
	live, err := e.kernel.Observe(before)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's state: %w", err)
	}
	e.lastRead = nil
	p := &Pass{Scope: before, NextCheck: peer.IdleInterval, Plan: state.Move(live, after)}
	if renamed {
		p.Plan = withoutFirewall(state.Diff(state.State{}, live))
	}
	p.Result = e.kernel.Apply(ctx, before, p.Plan)
	for _, c := range p.Result.Done {
		shown := planprint.Describe(c)
		e.Meter.Changed(shown.Kind, shown.Action)
		e.log.Info("change applied", "change", shown.String())
	}
	return p, p.Err()
}

// withoutFirewall returns the changes of links, routes and rules.
func withoutFirewall(plan state.Plan) state.Plan {
	return slices.DeleteFunc(plan, func(c state.Change) bool {
		switch c.(type) {
		case state.LinkChange, state.RouteChange, state.RuleChange:
			return false
		default:
			return true
		}
	})
}

// MoveFormer does Move with all that earlier configs of this machine have left.
func (e *Engine) MoveFormer(ctx context.Context, after state.Scope) error {
	former, err := e.former(after)
	if err != nil {
		return err
	}
	for _, before := range former {
		if _, err := e.Move(ctx, before, after); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) former(of state.Scope) ([]state.Scope, error) {
	if e.Former == nil {
		return nil, nil
	}
	return e.Former(of)
}

// planFormer returns the plan that removes what is under the marks of former and not under those of
// after.
func (e *Engine) planFormer(former []state.Scope, after state.Scope) (state.Plan, error) {
	var plan state.Plan
	for _, before := range former {
		live, err := e.kernel.Observe(before)
		if err != nil {
			return nil, fmt.Errorf("read the kernel's state: %w", err)
		}
		if before.LinkName == after.LinkName {
			plan = append(plan, state.Left(live, after)...)
		} else {
			plan = append(plan, withoutFirewall(state.Diff(state.State{}, live))...)
		}
	}
	return plan, nil
}
