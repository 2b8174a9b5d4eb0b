package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// Once is a machine for one pass at a time, where no agent runs. Each method
// opens the machine and closes it again.
type Once struct {
	Machine
	// File is where the config is stored.
	File configfile.File
}

// with opens the machine for f.
func (o Once) with(f func(p *parts) error) error {
	p, err := o.open()
	if err != nil {
		return err
	}
	p.engine.AlwaysInitiate = true
	return errors.Join(f(p), p.close())
}

// Diff compares the kernel with a config and changes nothing in it.
func (o Once) Diff(ctx context.Context, config *schema.Config) (plan *agentpb.Plan, err error) {
	err = o.with(func(p *parts) error {
		discovery := p.newDiscovery()
		if err := p.ask(ctx, discovery, config); err != nil {
			return err
		}
		pass, err := p.engine.Plan(time.Now(), config, discovery.Knowledge())
		if err != nil {
			return err
		}
		plan = planOf(pass.Plan)
		return nil
	})
	return plan, err
}

// Stage stores a config and does not put it in force.
func (o Once) Stage(source schema.Source) (path string, err error) {
	err = o.withDir(func(dir *statedir.Dir) error {
		if err := noTrial(dir); err != nil {
			return err
		}
		path, err = o.File.Store(source.Name, source.Data)
		return err
	})
	return path, err
}

// Apply stores a config, does a pass with it and publishes the machine.
func (o Once) Apply(ctx context.Context, source schema.Source, config *schema.Config) (plan *agentpb.Plan, path string, err error) {
	err = o.with(func(p *parts) error {
		if err := noTrial(p.dir); err != nil {
			return err
		}
		plan, path, err = o.store(ctx, p, "apply", source, config)
		return err
	})
	return plan, path, err
}

// store makes a config the one in the file and in force.
func (o Once) store(ctx context.Context, p *parts, how string, source schema.Source, config *schema.Config) (*agentpb.Plan, string, error) {
	path, err := o.File.Store(source.Name, source.Data)
	if err != nil {
		return nil, path, err
	}
	if _, err := p.dir.Keep(time.Now(), how, path, source.Data); err != nil {
		return nil, path, err
	}
	plan, err := p.enforce(ctx, config)
	return plan, path, err
}

// enforce does a pass with a config and publishes the machine.
func (p *parts) enforce(ctx context.Context, config *schema.Config) (*agentpb.Plan, error) {
	discovery := p.newDiscovery()
	if err := p.ask(ctx, discovery, config); err != nil {
		return nil, err
	}
	pass, err := p.engine.Run(ctx, time.Now(), config, discovery.Knowledge())
	if pass == nil {
		return nil, err
	}
	discovery.SaveCaches()
	// A mesh of static peers has no other machine to tell.
	if announced := discovery.Announce(ctx, pass.Local); announced != nil && !errors.Is(announced, reconciler.ErrNoPublisher) {
		pass.Warn(fmt.Errorf("the other machines were not told of this one: %w", announced))
	}
	return outcome(pass, err)
}

// Try is Apply until the trial is over: then what was before comes back, unless the
// trial was confirmed. It begins the trial and calls begun with what it did; where ctx
// ends, so does the trial.
func (o Once) Try(ctx context.Context, source schema.Source, config *schema.Config, timeout time.Duration,
	begun func(plan *agentpb.Plan, path string, until time.Time) error,
) (back *agentpb.Plan, err error) {
	var plan *agentpb.Plan
	var trial statedir.Trial
	var path string
	began := false
	err = o.with(func(p *parts) error {
		if trial, err = beginTrial(p.dir, o.File, timeout); err != nil {
			return err
		}
		began = true
		plan, path, err = o.store(ctx, p, "try", source, config)
		return err
	})
	if err != nil && !began {
		return nil, err
	}
	if err != nil {
		return nil, errors.Join(err, o.withDir(func(dir *statedir.Dir) error { return undo(dir, o.File, trial) }))
	}
	// Whoever began the trial may be gone: what was cut is what they came by.
	if err := begun(plan, path, trial.Until); err != nil {
		o.Log.Warn("what was done could not be told", "error", err)
	}
	waiting, stop := context.WithDeadline(ctx, time.Now().Add(trial.Left(time.Now())))
	defer stop()
	confirmed, err := statedir.AwaitConfirmation(waiting, o.StateDir)
	if confirmed || err != nil {
		return nil, err
	}
	back, _, err = o.Rollback(context.WithoutCancel(ctx), 0)
	return back, err
}

// Rollback puts a config of the history in force again; 0 stands for the one before the
// newest, or before the trial that goes on.
func (o Once) Rollback(ctx context.Context, number int) (plan *agentpb.Plan, r statedir.Revision, err error) {
	err = o.with(func(p *parts) error {
		if number, err = previous(p.dir, number); err != nil {
			return err
		}
		if number == 0 {
			plan, err = o.leaveTrial(ctx, p)
			return err
		}
		config, err := check(p.dir, number)
		if err != nil {
			return err
		}
		var data []byte
		if r, data, _, err = putBack(p.dir, o.File, number); err != nil {
			return err
		}
		plan, _, err = o.store(ctx, p, fmt.Sprintf("rollback-%d", number), schema.Source{Name: r.Path, Data: data}, config)
		return err
	})
	return plan, r, err
}

// leaveTrial goes back to where there was no config: what is on trial is removed.
func (o Once) leaveTrial(ctx context.Context, p *parts) (*agentpb.Plan, error) {
	newest, data, err := p.dir.Read(0)
	if err != nil {
		return nil, err
	}
	config, err := load.Config(newest.Path, data)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(o.File.Remove(), p.dir.EndTrial()); err != nil {
		return nil, err
	}
	return outcome(p.engine.Remove(ctx, time.Now(), state.ScopeOf(config.KubeSpan())))
}

// Confirm ends the trial of a config: it stays.
func (o Once) Confirm() error { return o.withDir(confirm) }

// History lists the configs that were in force; with a number, that one alone and its
// text.
func (o Once) History(number int) (response *agentpb.HistoryResponse, err error) {
	err = o.withDir(func(dir *statedir.Dir) error {
		response, err = historyOf(dir, number)
		return err
	})
	return response, err
}

// withDir opens the state directory alone for f.
func (o Once) withDir(f func(*statedir.Dir) error) error {
	dir, err := statedir.Open(o.StateDir)
	if err != nil {
		return err
	}
	return errors.Join(f(dir), dir.Close())
}

// RotateKey gives the machine another key pair, announces it and does a pass.
func (o Once) RotateKey(ctx context.Context, config *schema.Config) (response *agentpb.RotateKeyResponse, err error) {
	err = o.with(func(p *parts) error {
		discovery := p.newDiscovery()
		if err := p.ask(ctx, discovery, config); err != nil {
			return err
		}
		rotation := p.dir.Rotate()
		if err := reconciler.RotateKey(ctx, p.engine, discovery, config, rotation.Next, rotation.Keep); err != nil {
			return err
		}
		plan, err := outcome(p.engine.Run(ctx, time.Now(), config, discovery.Knowledge()))
		response = &agentpb.RotateKeyResponse{Plan: plan, PublicKeyBefore: rotation.Before.String(), PublicKey: rotation.After().String()}
		return err
	})
	return response, err
}

// Down removes what a config put into the kernel and leaves its discovery.
func (o Once) Down(ctx context.Context, config *schema.Config) (plan *agentpb.Plan, err error) {
	err = o.with(func(p *parts) error {
		left := reconciler.LeaveDiscovery(ctx, p.newDiscovery(), config)
		pass, err := p.engine.Remove(ctx, time.Now(), state.ScopeOf(config.KubeSpan()))
		if pass != nil {
			pass.Warn(left)
		}
		plan, err = outcome(pass, err)
		return err
	})
	return plan, err
}

// ask opens the registries of a config and reads them once. Where they cannot be reached,
// what was known before has to do.
func (p *parts) ask(ctx context.Context, discovery *reconciler.Discovery, config *schema.Config) error {
	if err := discovery.Open(config); err != nil {
		return err
	}
	if err := discovery.Fetch(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.log.Warn("discovery unreachable; using what was known before", "error", err)
	}
	return nil
}
