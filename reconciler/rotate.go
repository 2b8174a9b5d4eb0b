package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// ErrNoMesh is returned by RotateKey if no mesh uses the key.
var ErrNoMesh = errors.New("the machine is not in a mesh: machine.network.kubespan is disabled, or the mesh was taken down")

// withdrawTimeout is how long RotateKey tries to announce the old key again after a failure: a
// registry may have taken the new one, though its answer was lost.
const withdrawTimeout = 5 * time.Second

// Rotation is a new key pair of the machine and where it is stored.
type Rotation struct {
	// Next makes the pair and stores it beside the one in use. Once it has returned, the pair
	// survives a loss of power.
	Next Identify
	// Keep puts the stored pair in place of the one in use. It needs no space on the disk.
	Keep func() error
	// Discard forgets the stored pair.
	Discard func() error
	// Force changes the key even if no registry takes it: the peers refuse this machine until
	// they have it.
	Force bool
}

// RotateKey gives the machine another key pair, in the order that interrupts the mesh least: the
// pair is stored, its public half is announced, and the pass after it uses the key. If no registry
// accepts the key, or it cannot be stored, the old one stays: the other machines would refuse this
// one. The error untold names who does not know the new key.
func RotateKey(ctx context.Context, e *Engine, d *Discovery, config *schema.Config, r Rotation) (untold, err error) {
	if !config.KubeSpan().Enabled {
		return nil, ErrNoMesh
	}
	known := d.Knowledge()
	local, err := e.AffiliateAs(config, known, r.Next)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the key was not changed: %w", err), r.Discard())
	}
	missed, err := d.announce(ctx, local)
	if err != nil && r.Force && ctx.Err() == nil {
		missed, err = err, nil
		if errors.Is(missed, ErrNoPublisher) {
			missed = nil
		}
	}
	if err != nil {
		if !errors.Is(err, ErrNoPublisher) {
			_ = withdraw(ctx, e, d, config, known) // what is not reached has not learned the key
		}
		return nil, errors.Join(fmt.Errorf("the key was not changed, because no other machine would learn the new one; --force changes it all the same: %w", err), r.Discard())
	}
	if err := r.Keep(); err != nil {
		if withdrawn := withdraw(ctx, e, d, config, known); withdrawn != nil {
			err = errors.Join(err, fmt.Errorf("the new key is announced and not in use; `spanctl reload` announces the old one again: %w", withdrawn))
		}
		return nil, errors.Join(fmt.Errorf("the key was not changed: %w", err), r.Discard())
	}
	return errors.Join(missedBy(missed), byHand(config, known)), nil
}

// withdraw announces the identity that is stored, also if ctx has ended.
func withdraw(ctx context.Context, e *Engine, d *Discovery, config *schema.Config, known Knowledge) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
	defer cancel()
	local, err := e.AffiliateAs(config, known, e.identify)
	if err != nil {
		return err
	}
	return d.Announce(ctx, local)
}

// missedBy returns the warning about registries that have not taken the new key; nil for none.
func missedBy(missed error) error {
	if missed == nil {
		return nil
	}
	return fmt.Errorf("machines that read only these registries refuse this one until they have its new key: %w", missed)
}

// byHand returns the warning about static peers that no registry has, which learn the new key
// from nobody; nil for none.
func byHand(config *schema.Config, known Knowledge) error {
	published := map[mesh.Key]bool{}
	for _, a := range known.Affiliates {
		published[a.KubeSpan.PublicKey] = published[a.KubeSpan.PublicKey] || !a.Static
	}
	var names []string
	for _, p := range config.Cluster.Discovery.Registries.Static.Peers {
		if !published[mesh.Key(p.PublicKey)] {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("give the new public key by hand to the peers without an agent: %s", strings.Join(names, ", "))
}
