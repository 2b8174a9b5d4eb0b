package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// oneShot is the Runner where no agent runs: each method is one pass, for which it
// locks the state directory.
type oneShot struct {
	machine Machine
	dir     *statedir.Dir
	file    configfile.File
	eval    evaluator
}

var _ Runner = (*oneShot)(nil)

// errNoAgent is the error for what needs an agent.
var errNoAgent = errors.New("no agent is running")

// Running returns an error that says how to start an agent.
func (o *oneShot) Running() error {
	return fmt.Errorf("%w at %s: start one with `spanctl run`", errNoAgent, o.machine.Socket)
}

// pass opens the machine for do and closes it again.
func (o *oneShot) pass(ctx context.Context, do func(d *deps) (*reconciler.Pass, error)) (pass *reconciler.Pass, err error) {
	if err := o.dir.LockWithin(ctx, lockPatience); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.dir.Unlock()) }()
	d, err := o.machine.open(o.dir)
	if err != nil {
		return nil, err
	}
	defer d.close()
	d.engine.AlwaysInitiate = true
	return do(d)
}

// inForce reads the config that is in force, or the stored one if none ever was.
func (o *oneShot) inForce() (name string, data []byte, updated time.Time, err error) {
	newest, data, err := o.dir.InForce()
	if errors.Is(err, statedir.ErrNoRevision) {
		name, data, err = o.file.Read()
		return name, data, time.Now(), err
	}
	return newest.Path, data, newest.Time, err
}

// current is the config in force with its secrets.
func (o *oneShot) current(ctx context.Context) (*schema.Config, error) {
	name, data, _, err := o.inForce()
	if err != nil {
		return nil, err
	}
	return o.eval.load(ctx, name, data)
}

// SetConfig does a pass with a config and publishes the machine.
func (o *oneShot) SetConfig(ctx context.Context, config *schema.Config, keep func() error) (*reconciler.Pass, error) {
	return o.pass(ctx, func(d *deps) (*reconciler.Pass, error) {
		discovery := d.newDiscovery()
		before := o.before(ctx, d.log)
		// The next command reads the config in force from the history.
		if err := keep(); err != nil {
			return nil, fmt.Errorf("the config is stored but not in force: write it to the history: %w", err)
		}
		if before != nil {
			if err := d.leaveBehind(ctx, discovery, before, config); err != nil {
				return nil, err
			}
		}
		if err := d.engine.MoveFormer(ctx, state.ScopeOf(config.KubeSpan())); err != nil {
			return nil, err
		}
		if err := d.ask(ctx, discovery, config); err != nil {
			return nil, err
		}
		pass, err := d.engine.Run(ctx, time.Now(), config, discovery.Knowledge())
		if pass == nil {
			return nil, err
		}
		if !config.KubeSpan().Enabled || !config.KubeSpan().Relay.UsesBlind() {
			pass.Warn(d.tunnels.End(ctx))
		}
		discovery.SaveCaches()
		if !config.KubeSpan().Enabled || !config.KubeSpan().Relay.Offer {
			d.endRelay(ctx)
		}
		if !config.KubeSpan().Enabled || !config.KubeSpan().Names.Enabled {
			pass.Warn(d.hosts.remove())
		}
		pass.WarnUntold(discovery.Announce(ctx, pass.Local))
		return pass, err
	})
}

// before returns the config that was put in force last; nil if there is none that can be
// read.
func (o *oneShot) before(ctx context.Context, log *slog.Logger) *schema.Config {
	newest, data, err := o.dir.InForce()
	if errors.Is(err, statedir.ErrNoRevision) {
		return nil
	}
	var config *schema.Config
	if err == nil {
		config, err = o.eval.load(ctx, newest.Path, data)
	}
	if err != nil {
		log.Warn("config in force unreadable; a registry that only it asked for is not left", "error", err)
		return nil
	}
	return config
}

// leaveBehind removes from the kernel and from discovery what the config before owned and
// the new one does not.
func (d *deps) leaveBehind(ctx context.Context, discovery *reconciler.Discovery, before, config *schema.Config) error {
	// Registries that are open and that the new config does not ask for are left.
	if err := discovery.Open(before); err != nil {
		d.log.Warn("leaving discovery failed", "error", err)
	}
	from, to := state.ScopeOf(before.KubeSpan()), state.ScopeOf(config.KubeSpan())
	if from == to {
		return nil
	}
	_, err := d.engine.Move(ctx, from, to)
	return err
}

// Diff implements Runner.
func (o *oneShot) Diff(ctx context.Context, config *schema.Config) (*reconciler.Pass, error) {
	if config == nil {
		var err error
		if config, err = o.current(ctx); err != nil {
			return nil, err
		}
	}
	return o.pass(ctx, func(d *deps) (*reconciler.Pass, error) {
		discovery := d.newDiscovery()
		if err := d.ask(ctx, discovery, config); err != nil {
			return nil, err
		}
		return d.engine.Plan(time.Now(), config, discovery.Knowledge())
	})
}

// RotateKey implements Runner.
func (o *oneShot) RotateKey(ctx context.Context, r reconciler.Rotation) (*reconciler.Pass, error) {
	config, err := o.current(ctx)
	if err != nil {
		return nil, err
	}
	return o.pass(ctx, func(d *deps) (*reconciler.Pass, error) {
		discovery := d.newDiscovery()
		if err := d.ask(ctx, discovery, config); err != nil {
			return nil, err
		}
		if err := d.checkUp(config, discovery.Knowledge()); err != nil {
			return nil, err
		}
		untold, err := reconciler.RotateKey(ctx, d.engine, discovery, config, r)
		if err != nil {
			return nil, err
		}
		pass, err := d.engine.Run(ctx, time.Now(), config, discovery.Knowledge())
		if pass != nil {
			pass.Warn(untold)
		}
		return pass, err
	})
}

// ResetIdentity implements Runner. Where a mesh is up, it goes on with the new identity.
func (o *oneShot) ResetIdentity(ctx context.Context, replace func() error) (pass *reconciler.Pass, err error) {
	config, err := o.current(ctx)
	if err != nil {
		// A clone need not have a config yet.
		o.machine.Log.Info("no config in force; the identity alone is replaced", "error", err)
		if err := o.dir.LockWithin(ctx, lockPatience); err != nil {
			return nil, err
		}
		return nil, errors.Join(replace(), o.dir.Unlock())
	}
	return o.pass(ctx, func(d *deps) (*reconciler.Pass, error) {
		if err := replace(); err != nil {
			return nil, err
		}
		// A damaged identity can be asked now.
		if err := d.checkUp(config, reconciler.Knowledge{}); errors.Is(err, reconciler.ErrNoMesh) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("use the new identity, which is stored: %w", err)
		}
		discovery := d.newDiscovery()
		if err := d.ask(ctx, discovery, config); err != nil {
			return nil, err
		}
		pass, err := d.engine.Run(ctx, time.Now(), config, discovery.Knowledge())
		if err != nil {
			return pass, err
		}
		pass.WarnUntold(discovery.Announce(ctx, pass.Local))
		return pass, nil
	})
}

// checkUp returns ErrNoMesh where a pass would have to make the link.
func (d *deps) checkUp(config *schema.Config, known reconciler.Knowledge) error {
	pass, err := d.engine.Plan(time.Now(), config, known)
	if err != nil {
		return err
	}
	for _, c := range pass.Plan {
		if link, ok := c.(state.LinkChange); ok && link.Old.Name == "" {
			return reconciler.ErrNoMesh
		}
	}
	return nil
}

// Resources implements Runner. Without an agent there is the config alone.
func (o *oneShot) Resources(ctx context.Context, t *resource.Type) (*resource.Store, error) {
	if t != resource.MachineConfigs {
		return nil, o.Running()
	}
	name, data, updated, err := o.inForce()
	if err != nil {
		return nil, err
	}
	config, err := o.eval.loadUnread(ctx, name, data)
	if err != nil {
		return nil, err
	}
	store := &resource.Store{}
	store.Replace(updated, t, map[string]any{"machine": resource.MachineConfig{Config: config}})
	return store, nil
}

// ask opens the registries of a config and reads them once. Where they cannot be reached,
// their caches have to do.
func (d *deps) ask(ctx context.Context, discovery *reconciler.Discovery, config *schema.Config) error {
	if err := discovery.Open(config); err != nil {
		return err
	}
	if err := discovery.Fetch(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.log.Warn("discovery unreachable; using the cache", "error", err)
	}
	return nil
}
