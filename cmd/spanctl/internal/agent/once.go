package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
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
		known, _, err := p.ask(ctx, config)
		if err != nil {
			return err
		}
		pass, err := p.engine.Plan(ctx, time.Now(), config, known)
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
	known, asked, err := p.ask(ctx, config)
	if err != nil {
		return nil, err
	}
	pass, err := p.engine.Run(ctx, time.Now(), config, known)
	if pass != nil && asked != nil {
		if err := p.dir.Remember(config.Cluster.ID, asked.remembered()); err != nil {
			p.log.Warn("what discovery knows could not be written down", "error", err)
		}
		if err := asked.push(ctx, pass.Local); err != nil {
			p.log.Warn("this machine could not be published; the others do not know of it yet", "error", err)
		}
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
	config, err := schema.Load(newest.Path, data)
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
	if !config.KubeSpan().Enabled || !config.Cluster.Discovery.Registries.AskOthers() {
		return nil, reconciler.ErrNoMesh
	}
	err = o.with(func(p *parts) error {
		known, asked, err := p.ask(ctx, config)
		if err != nil {
			return err
		}
		rotation := p.dir.Rotate()
		local, err := p.engine.Next(config, known, rotation.Next)
		if err != nil {
			return err
		}
		if err := asked.announce(ctx, local); err != nil {
			return fmt.Errorf("the key was not changed, since the others could not be told: %w", err)
		}
		if err := rotation.Keep(); err != nil {
			return err
		}
		plan, err := outcome(p.engine.Run(ctx, time.Now(), config, known))
		response = &agentpb.RotateKeyResponse{Plan: plan, PublicKeyBefore: rotation.Before.String(), PublicKey: rotation.After().String()}
		return err
	})
	return response, err
}

// Down removes what a config put into the kernel and leaves its discovery.
func (o Once) Down(ctx context.Context, config *schema.Config) (plan *agentpb.Plan, err error) {
	err = o.with(func(p *parts) error {
		if config.Cluster.Discovery.Enabled {
			p.leave(ctx, config)
		}
		var err error
		plan, err = outcome(p.engine.Remove(ctx, time.Now(), state.ScopeOf(config.KubeSpan())))
		return err
	})
	return plan, err
}

func (p *parts) leave(ctx context.Context, config *schema.Config) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	registries, err := p.registries(config, nil)
	if err == nil {
		err = registries.leave(ctx)
	}
	if err != nil {
		p.log.Warn("discovery could not be told that this machine leaves; it forgets by itself",
			"after", discoveryhttp.TTL.String(), "error", err)
	}
}

// ask reads once what a config's discovery knows. Where discovery cannot be reached, what was known before has to do. Asked is nil without
// discovery.
func (p *parts) ask(ctx context.Context, config *schema.Config) (known reconciler.Knowledge, asked *registries, err error) {
	if !config.Cluster.Discovery.Enabled {
		return known, nil, nil
	}
	if asked, err = p.registries(config, nil); err != nil {
		return known, nil, err
	}
	if err := asked.fetch(ctx); err != nil {
		if ctx.Err() != nil {
			return known, nil, ctx.Err()
		}
		p.log.Warn("discovery cannot be reached; going by what was known before", "error", err)
		return asked.known(), asked, nil
	}
	return asked.known(), asked, nil
}
