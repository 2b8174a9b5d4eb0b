package agent

import (
	"context"
	"fmt"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// Runner runs passes. A Pass that is returned with a *reconciler.ApplyError was applied
// in part.
type Runner interface {
	// SetConfig calls keep, which writes the config to the history, then puts the
	// config in force, unless keep fails. It removes what the config before owned and this one does not.
	SetConfig(ctx context.Context, config *schema.Config, keep func() error) (*reconciler.Pass, error)
	// Diff compares the kernel with a config, the one in force if nil, and changes
	// nothing.
	Diff(ctx context.Context, config *schema.Config) (*reconciler.Pass, error)
	// Down leaves discovery and removes the mesh.
	Down(ctx context.Context) (*reconciler.Pass, error)
	// RotateKey gives the machine another key pair, and warns of peers that do not know it.
	RotateKey(ctx context.Context, r reconciler.Rotation) (*reconciler.Pass, error)
	// ResetIdentity calls replace, which stores another identity, and uses it. What is
	// published under the old node ID stays. The pass is nil where no mesh is up.
	ResetIdentity(ctx context.Context, replace func() error) (*reconciler.Pass, error)
	// Resources returns the resources of a type.
	Resources(ctx context.Context, t *resource.Type) (*resource.Store, error)
	// Running returns nil in an agent. Otherwise it returns an error that says how to
	// start one.
	Running() error
}

// loopRunner is the Runner of an agent.
type loopRunner struct {
	*deps
	loop *reconciler.Loop
}

var _ Runner = loopRunner{}

func (r loopRunner) SetConfig(ctx context.Context, config *schema.Config, keep func() error) (*reconciler.Pass, error) {
	if err := keep(); err != nil {
		return nil, fmt.Errorf("the config is stored but not in force: write it to the history: %w", err)
	}
	return r.loop.SetConfig(ctx, config)
}

func (r loopRunner) Diff(ctx context.Context, config *schema.Config) (*reconciler.Pass, error) {
	known, err := r.knowledgeFor(ctx, config)
	if err != nil {
		return nil, err
	}
	return r.loop.Diff(ctx, config, known)
}

// knowledgeFor reads the registries of a config. It returns nil if the loop follows these
// registries already.
func (r loopRunner) knowledgeFor(ctx context.Context, config *schema.Config) (*reconciler.Knowledge, error) {
	if config == nil || !config.Cluster.Discovery.Enabled {
		return nil, nil
	}
	same, err := r.loop.SameDiscovery(ctx, config)
	if err != nil || same {
		return nil, err
	}
	discovery := r.newDiscovery()
	if err := r.ask(ctx, discovery, config); err != nil {
		return nil, err
	}
	known := discovery.Knowledge()
	return &known, nil
}

func (r loopRunner) RotateKey(ctx context.Context, rotation reconciler.Rotation) (*reconciler.Pass, error) {
	return r.loop.RotateKey(ctx, rotation)
}

func (r loopRunner) ResetIdentity(ctx context.Context, replace func() error) (*reconciler.Pass, error) {
	return r.loop.ResetIdentity(ctx, replace)
}

func (r loopRunner) Resources(context.Context, *resource.Type) (*resource.Store, error) {
	return r.store, nil
}

func (loopRunner) Running() error { return nil }
