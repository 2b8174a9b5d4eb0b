package reconciler

import (
	"context"
	"errors"
	"fmt"

	"github.com/spanmesh/span/schema"
)

// ErrNoMesh is returned by RotateKey if no mesh uses the key.
var ErrNoMesh = errors.New("the machine is not in a mesh: machine.network.kubespan is disabled, or the mesh was taken down")

// RotateKey gives the machine another key pair, in the order that interrupts the mesh
// least: the public key is announced first, the pass after it uses the key. Next makes the
// pair and keep stores it. If no registry has accepted the key, it is not stored: the other
// machines would refuse this one.
func RotateKey(ctx context.Context, e *Engine, d *Discovery, config *schema.Config, next Identify, keep func() error) error {
	if !config.KubeSpan().Enabled {
		return ErrNoMesh
	}
	local, err := e.AffiliateAs(config, d.Knowledge(), next)
	if err != nil {
		return err
	}
	if err := d.Announce(ctx, local); err != nil {
		return fmt.Errorf("the key was not changed, because no other machine would learn the new one: %w", err)
	}
	return keep()
}
