package reconciler

import (
	"context"
	"errors"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/event"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// requestTimeout is how long a request waits for the loop. A pass of 5,000 peers takes
// seconds.
const requestTimeout = time.Minute

var (
	// ErrStopped is returned by the methods of a Loop once Run is to end.
	ErrStopped = errors.New("the agent is stopping")
	// ErrBusy is returned by the methods of a Loop when a pass has not ended for
	// requestTimeout.
	ErrBusy = errors.New("the agent has worked on one pass for more than a minute: its log has what it waits for; " +
		"if it is nothing, restart the agent, which leaves the mesh up")
	// ErrNoConfig is returned before the first config.
	ErrNoConfig = errors.New("the agent has no config yet; apply one with `spanctl apply -f FILE`")
)

// onLoop runs f on the goroutine of Run and waits for what it returns. It does not wait for a
// pass that hangs in the kernel: neither when the loop stops, nor for longer than
// requestTimeout.
func onLoop[T any](ctx context.Context, l *Loop, f func(ctx context.Context) (T, error)) (result T, err error) {
	type answer struct {
		result T
		err    error
	}
	answers := make(chan answer, 1)
	request := func(loopCtx context.Context) {
		result, err := f(loopCtx)
		l.endTurn() // who has the answer then finds what came of it
		answers <- answer{result, err}
	}
	tooLong := time.NewTimer(requestTimeout)
	defer tooLong.Stop()
	select {
	case l.requests <- request:
	case <-l.stopping:
		return result, ErrStopped
	case <-ctx.Done():
		return result, ctx.Err()
	case <-tooLong.C:
		return result, ErrBusy
	}
	select {
	case a := <-answers:
		return a.result, a.err
	case <-l.stopping:
		return result, ErrStopped
	case <-tooLong.C:
		return result, ErrBusy
	}
}

// Stand makes found the present conditions of a code that no pass finds, with or without a mesh.
func (l *Loop) Stand(ctx context.Context, code condition.Code, found ...condition.Condition) error {
	_, err := onLoop(ctx, l, func(context.Context) (struct{}, error) {
		l.engine.stand(time.Now(), code, found)
		return struct{}{}, nil
	})
	return err
}

// SetConfig puts a config in force, does a pass and returns it. A mesh that was taken down
// comes up again. Objects under other ownership marks of the config before are moved or removed
// first.
func (l *Loop) SetConfig(ctx context.Context, config *schema.Config) (pass *Pass, err error) {
	return onLoop(ctx, l, func(ctx context.Context) (*Pass, error) {
		if l.config != nil {
			if before := state.ScopeOf(l.config.KubeSpan()); before != state.ScopeOf(config.KubeSpan()) {
				if _, err := l.engine.Move(ctx, before, state.ScopeOf(config.KubeSpan())); err != nil {
					l.engine.holdFailure(now(), err)
					l.log.Error("config not put in force; the one before stays", "error", err)
					return nil, err
				}
			}
		}
		if err := l.engine.MoveFormer(ctx, state.ScopeOf(config.KubeSpan())); err != nil {
			// The pass says what is wrong.
			l.log.Warn("what an earlier config left stays", "error", err)
		}
		l.config, l.down = config, false
		l.inForce.Store(config)
		l.engine.asked = health.Mesh{InForce: true, Disabled: !config.KubeSpan().Enabled}
		l.engine.publishConfig(time.Now(), config)
		l.Wake(InputChanged) // the registries answer after this pass
		pass, err := l.pass(ctx, Trigger{})
		warnOfConfig(l.log, config, pass)
		if err == nil {
			l.engine.recordNormal(now(), event.ConfigApplied, "", "a config was put in force")
		}
		return pass, err
	})
}

// Diff compares the kernel with a config, the one in force if nil, and changes nothing.
// Known is what the config's registries know; nil for those that the loop follows.
func (l *Loop) Diff(ctx context.Context, config *schema.Config, known *Knowledge) (*Pass, error) {
	return onLoop(ctx, l, func(context.Context) (*Pass, error) {
		if config == nil {
			config = l.config
		}
		if config == nil {
			return nil, ErrNoConfig
		}
		if known == nil {
			current := l.discovery.Knowledge()
			known = &current
		}
		return l.engine.Plan(now(), config, *known)
	})
}

// SameDiscovery reports whether the loop follows the registries that config asks for.
func (l *Loop) SameDiscovery(ctx context.Context, config *schema.Config) (bool, error) {
	return onLoop(ctx, l, func(context.Context) (bool, error) { return l.discovery.Same(config), nil })
}

// Down leaves discovery and removes the mesh. The loop stays idle until the next
// SetConfig. The pass warns of a registry that was not left; Down again leaves it.
func (l *Loop) Down(ctx context.Context) (*Pass, error) {
	return onLoop(ctx, l, func(ctx context.Context) (*Pass, error) {
		if l.config == nil {
			return nil, ErrNoConfig
		}
		var left error
		if !l.down || l.leaveFailed {
			left = LeaveDiscovery(ctx, l.discovery, l.config)
		}
		l.down, l.leaveFailed = true, left != nil
		l.engine.asked = health.Mesh{Down: true}
		pass, err := l.engine.Remove(ctx, time.Now(), state.ScopeOf(l.config.KubeSpan()))
		l.engine.assess(time.Now())
		if pass != nil {
			pass.Warn(left)
		}
		return pass, err
	})
}

// Remove takes down what find returns, which is not that of the config in force.
func (l *Loop) Remove(ctx context.Context, find func() ([]state.Scope, error)) (*Pass, error) {
	return onLoop(ctx, l, func(ctx context.Context) (*Pass, error) {
		scopes, err := find()
		if err != nil {
			return nil, err
		}
		l.Wake(KernelChanged)
		return l.engine.RemoveAll(ctx, time.Now(), scopes)
	})
}

// RotateKey gives the machine another key pair, as the function RotateKey does, and does a
// pass that uses it.
func (l *Loop) RotateKey(ctx context.Context, r Rotation) (*Pass, error) {
	return onLoop(ctx, l, func(ctx context.Context) (*Pass, error) {
		switch {
		case l.config == nil:
			return nil, ErrNoConfig
		case l.down:
			return nil, ErrNoMesh
		}
		untold, err := RotateKey(ctx, l.engine, l.discovery, l.config, r)
		if err != nil {
			return nil, err
		}
		l.engine.recordNormal(now(), event.KeyRotated, "", "this machine has another WireGuard key")
		pass, err := l.pass(ctx, Trigger{})
		if pass != nil {
			pass.Warn(untold)
		}
		return pass, err
	})
}

// ResetIdentity calls replace, which stores another identity of the machine, and does a pass
// that uses it. What registries have under the old node ID stays: another machine has it,
// too. The pass is nil where no mesh is up.
func (l *Loop) ResetIdentity(ctx context.Context, replace func() error) (*Pass, error) {
	return onLoop(ctx, l, func(ctx context.Context) (*Pass, error) {
		// The registries are opened again for the new node ID.
		l.discovery.Close()
		l.Wake(InputChanged)
		if err := replace(); err != nil || l.config == nil || l.down {
			return nil, err
		}
		pass, err := l.pass(ctx, Trigger{})
		if err == nil {
			pass.WarnUntold(l.discovery.Announce(ctx, pass.Local))
		}
		return pass, err
	})
}
