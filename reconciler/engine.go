package reconciler

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/link"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// Kernel is the machine that an Engine works on.
type Kernel interface {
	// Host tells the machine's name and addresses, without the named link's.
	Host(meshLink string) (mesh.Host, error)
	// Observe reads what is in the kernel under the marks of scope.
	Observe(ctx context.Context, scope state.Scope) (state.State, error)
	// Apply carries out a plan in order and stops at the first error.
	Apply(ctx context.Context, scope state.Scope, plan state.Plan) state.Result
}

// Identify gives the machine its identity in a cluster. It makes keys on first
// use and keeps them.
type Identify func(clusterID string, host mesh.Host) (mesh.Identity, error)

// Knowledge is what discovery knows.
type Knowledge struct {
	// Affiliates are those of the other machines.
	Affiliates []mesh.Affiliate
	// Seen are this machine's addresses as others see them.
	Seen []netip.Addr
	// Refused tells, by node ID, why a registry did not take affiliates.
	Refused map[string]string
	// Complete tells that discovery was heard since the process began: who is
	// not among Affiliates has left the mesh.
	Complete bool
}

// Engine does passes. It remembers the state of each peer between them and is
// for one goroutine.
type Engine struct {
	// AlwaysBegins makes this machine open the conversation with every new peer,
	// which a single pass must: no second one would do it later.
	AlwaysBegins bool

	kernel   Kernel
	identify Identify
	store    *resource.Store
	log      *slog.Logger

	statuses map[mesh.Key]link.Status
	overlaps []mesh.Overlap
	refused  map[string]string
}

// NewEngine makes an engine that works on kernel and publishes to store.
func NewEngine(kernel Kernel, identify Identify, store *resource.Store, log *slog.Logger) *Engine {
	return &Engine{kernel: kernel, identify: identify, store: store, log: log, statuses: map[mesh.Key]link.Status{}}
}

// Pass is what one pass found and did.
type Pass struct {
	// Scope is what the pass worked on.
	Scope state.Scope
	// Plan is what the kernel lacked, Result how far it was carried out.
	Plan   state.Plan
	Result state.Result
	// Local is what the machine should publish, Harvested the endpoints of
	// others, by node ID, that they do not list themselves.
	Local     mesh.Affiliate
	Harvested map[string][]netip.AddrPort
	// NextLook is when the kernel should be looked at again.
	NextLook time.Duration

	identity mesh.Identity
	// merged are all affiliates, good those of them that are used, and refused why
	// the others are not, along with those that no registry could read.
	merged, good []mesh.Affiliate
	refused      map[string]string
	specs        []mesh.PeerSpec
	overlaps     []mesh.Overlap
	statuses     map[mesh.Key]link.Status
}

// Err is the error that ended the pass early, with what was and was not done.
func (p *Pass) Err() error {
	if p.Result.Err == nil {
		return nil
	}
	return &ApplyError{Result: p.Result}
}

// ApplyError says that a plan was carried out in part.
type ApplyError struct{ Result state.Result }

func (e *ApplyError) Error() string {
	what := "the plan"
	if e.Result.Failed != nil {
		what = e.Result.Failed.String()
	}
	return fmt.Sprintf("%s: %v (%d of %d changes were made before; the next pass tries the rest again)",
		what, e.Result.Err, len(e.Result.Done), len(e.Result.Done)+len(e.Result.NotDone))
}

func (e *ApplyError) Unwrap() error { return e.Result.Err }

// Plan compares the kernel with what config and knowledge ask for, and changes
// nothing, neither in the kernel nor in the engine. Which endpoint of a peer is
// on trial is no difference.
func (e *Engine) Plan(ctx context.Context, now time.Time, config *schema.Config, known Knowledge) (*Pass, error) {
	p, live, err := e.begin(ctx, config, known)
	if err != nil {
		return nil, err
	}
	redirects := e.step(p, now, live)
	for _, peer := range live.Peers {
		delete(redirects, peer.PublicKey)
	}
	return p, e.compare(p, config, known, live, redirects)
}

// begin reads the kernel and makes the peers.
func (e *Engine) begin(ctx context.Context, config *schema.Config, known Knowledge) (*Pass, state.State, error) {
	p := &Pass{Scope: state.ScopeOf(config.KubeSpan()), NextLook: link.RestInterval, statuses: map[mesh.Key]link.Status{}}
	live, err := e.kernel.Observe(ctx, p.Scope)
	if err != nil {
		return nil, live, fmt.Errorf("read the kernel's state: %w", err)
	}
	if config.KubeSpan().Enabled || config.Cluster.Discovery.Enabled {
		err = e.gather(p, config, known)
	}
	return p, live, err
}

// compare makes the plan.
func (e *Engine) compare(p *Pass, config *schema.Config, known Knowledge, live state.State, redirects map[mesh.Key]netip.AddrPort) error {
	kubespan := config.KubeSpan()
	if !kubespan.Enabled {
		p.Plan = state.Diff(state.State{}, live)
		return nil
	}
	key, err := config.Cluster.Secret.Key()
	if err != nil {
		return fmt.Errorf("cluster.secret %w", err)
	}
	in := state.Inputs{
		Identity:     p.identity,
		KubeSpan:     *kubespan,
		PresharedKey: mesh.SecretKey(key),
		Peers:        p.specs,
		Statuses:     p.statuses,
		Redirects:    redirects,
	}
	if !known.Complete {
		in.Retain = state.Retained(in, live)
	}
	p.Plan = state.Diff(state.Build(in), live)
	if kubespan.HarvestExtraEndpoints {
		p.Harvested = p.harvest()
	}
	return nil
}

// gather makes the peers from the identity, the host and discovery.
func (e *Engine) gather(p *Pass, config *schema.Config, known Knowledge) error {
	kubespan := config.KubeSpan()
	host, err := e.kernel.Host(kubespan.InterfaceName)
	if err != nil {
		return fmt.Errorf("read the machine's addresses: %w", err)
	}
	if p.identity, err = e.identify(config.Cluster.ID, host); err != nil {
		return fmt.Errorf("establish the machine's identity: %w", err)
	}
	p.Local = mesh.LocalAffiliate(p.identity, kubespan, host, known.Seen)
	p.merged = mesh.Merge(known.Affiliates, []mesh.Affiliate{p.Local})
	p.good, p.refused = mesh.Vet(p.identity, p.merged)
	maps.Copy(p.refused, known.Refused)
	if kubespan.Enabled {
		p.specs, p.overlaps = mesh.PeerSpecs(p.identity, p.good)
	}
	return nil
}

// step moves every peer's status on and returns the endpoints to set now.
func (e *Engine) step(p *Pass, now time.Time, live state.State) map[mesh.Key]netip.AddrPort {
	seen := make(map[mesh.Key]link.Observed, len(live.Peers))
	for _, peer := range live.Peers {
		seen[peer.PublicKey] = link.Observed{Present: true, Endpoint: peer.Endpoint, LastHandshake: peer.LastHandshake,
			ReceiveBytes: peer.ReceiveBytes, TransmitBytes: peer.TransmitBytes}
	}
	redirects := map[mesh.Key]netip.AddrPort{}
	for _, spec := range p.specs {
		k := spec.PublicKey
		begins := e.AlwaysBegins || p.identity.PublicKey.Compare(k) < 0
		status, change := link.Step(now, link.Spec{Endpoints: spec.Endpoints, Begins: begins}, e.statuses[k], seen[k])
		p.statuses[k] = status
		if change.IsValid() {
			redirects[k] = change
		}
	}
	p.NextLook = link.NextLook(now, slices.Collect(maps.Values(p.statuses)))
	return redirects
}

// harvest lists the endpoints at which peers are reached and which they do not
// list themselves, so that a mesh of n machines does not publish n² endpoints.
func (p *Pass) harvest() map[string][]netip.AddrPort {
	found := map[string][]netip.AddrPort{}
	for _, spec := range p.specs {
		s := p.statuses[spec.PublicKey]
		if s.State == link.Up && s.Endpoint.IsValid() && !slices.Contains(spec.Endpoints, s.Endpoint) {
			found[spec.NodeID] = []netip.AddrPort{s.Endpoint}
		}
	}
	return found
}

// Run is a whole pass: compare, apply, remember and publish.
func (e *Engine) Run(ctx context.Context, now time.Time, config *schema.Config, known Knowledge) (*Pass, error) {
	p, live, err := e.begin(ctx, config, known)
	if err != nil {
		return nil, err
	}
	if err := e.compare(p, config, known, live, e.step(p, now, live)); err != nil {
		return nil, err
	}
	return p, e.apply(ctx, now, p)
}

// apply carries out the plan of a pass and keeps and shows what came of it.
func (e *Engine) apply(ctx context.Context, now time.Time, p *Pass) error {
	p.Result = e.kernel.Apply(ctx, p.Scope, p.Plan)
	for _, c := range p.Result.Done {
		e.log.Info("changed", "change", c.String())
	}
	e.remember(p)
	e.publish(now, p)
	return p.Err()
}

// Remove takes down all that is under the marks of scope.
func (e *Engine) Remove(ctx context.Context, now time.Time, scope state.Scope) (*Pass, error) {
	live, err := e.kernel.Observe(ctx, scope)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's state: %w", err)
	}
	p := &Pass{Scope: scope, NextLook: link.RestInterval, Plan: state.Diff(state.State{}, live), statuses: map[mesh.Key]link.Status{}}
	return p, e.apply(ctx, now, p)
}

// remember keeps the statuses for the next pass and logs what is news. A peer
// whose change did not reach the kernel keeps its old status, so that the next
// pass decides again.
func (e *Engine) remember(p *Pass) {
	for _, c := range p.Result.NotDone {
		if peer, ok := c.Object.(state.Peer); ok && c.Action != state.Delete {
			if before, known := e.statuses[peer.PublicKey]; known {
				p.statuses[peer.PublicKey] = before
			} else {
				delete(p.statuses, peer.PublicKey)
			}
		}
	}
	for _, spec := range p.specs {
		before, after := e.statuses[spec.PublicKey], p.statuses[spec.PublicKey]
		if before.State != after.State && after.State != "" {
			e.log.Info("peer is "+string(after.State), "peer", spec.Label, "key", spec.PublicKey.String(), "endpoint", after.Endpoint.String())
		}
	}
	for id, reason := range p.refused {
		if e.refused[id] != reason {
			e.log.Warn("an affiliate is refused", "affiliate", id, "reason", reason)
		}
	}
	if !slices.Equal(e.overlaps, p.overlaps) {
		for _, o := range p.overlaps {
			e.log.Warn("two peers claim the same addresses; the one whose key sorts first has them",
				"from", o.From.String(), "kept_by", o.Winner.String(), "refused_to", o.Loser.String())
		}
	}
	e.statuses, e.overlaps, e.refused = p.statuses, p.overlaps, p.refused
}
