package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// Once is a machine for one pass at a time, where no agent runs. Each method
// opens the machine and closes it again.
type Once struct{ Machine }

// with opens the machine for f.
func (o Once) with(f func(p *parts) error) error {
	p, err := o.open()
	if err != nil {
		return err
	}
	p.engine.AlwaysBegins = true
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

// Apply does a pass with a config and publishes the machine.
func (o Once) Apply(ctx context.Context, config *schema.Config) (plan *agentpb.Plan, err error) {
	warnOf(config, o.Log)
	err = o.with(func(p *parts) error {
		known, client, err := p.ask(ctx, config)
		if err != nil {
			return err
		}
		pass, err := p.engine.Run(ctx, time.Now(), config, known)
		if pass != nil && client != nil {
			if err := p.dir.Remember(config.Cluster.ID, client.Remember()); err != nil {
				p.log.Warn("what discovery knows could not be written down", "error", err)
			}
			if err := client.Push(ctx, pass.Local); err != nil {
				p.log.Warn("this machine could not be published; the others do not know of it yet", "error", err)
			}
		}
		plan, err = outcome(pass, err)
		return err
	})
	return plan, err
}

// RotateKey gives the machine another key pair, announces it and does a pass.
func (o Once) RotateKey(ctx context.Context, config *schema.Config) (response *agentpb.RotateKeyResponse, err error) {
	if !config.KubeSpan().Enabled || config.Cluster.Discovery.Registries.Service.Disabled {
		return nil, reconciler.ErrNoMesh
	}
	err = o.with(func(p *parts) error {
		known, client, err := p.ask(ctx, config)
		if err != nil {
			return err
		}
		rotation := p.dir.Rotate()
		local, err := p.engine.Next(config, known, rotation.Next)
		if err != nil {
			return err
		}
		if err := client.Push(ctx, local); err != nil {
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
	client, err := p.client(config, nil)
	if err == nil {
		err = client.Leave(ctx)
	}
	if err != nil {
		p.log.Warn("discovery could not be told that this machine leaves; it forgets by itself",
			"after", discoveryhttp.TTL.String(), "error", err)
	}
}

// ask reads once what a config's discovery knows. Where discovery cannot be reached, what was known before has to do. Client is nil without
// discovery.
func (p *parts) ask(ctx context.Context, config *schema.Config) (known reconciler.Knowledge, client *discoveryhttp.Client, err error) {
	if !config.Cluster.Discovery.Enabled {
		return known, nil, nil
	}
	if client, err = p.client(config, nil); err != nil {
		return known, nil, err
	}
	if err := client.Fetch(ctx); err != nil {
		if ctx.Err() != nil {
			return known, nil, ctx.Err()
		}
		p.log.Warn("discovery cannot be reached; going by what was known before", "error", err)
		return knowledgeOf(client), client, nil
	}
	return knowledgeOf(client), client, nil
}
