package reconciler

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
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
	// Peers reads the peers alone, in the order of their keys.
	Peers(ctx context.Context, scope state.Scope) ([]state.Peer, error)
	// ForgetSources has WireGuard choose anew which address it sends from.
	ForgetSources(ctx context.Context, scope state.Scope) error
	// Probe sends something through the tunnel to each address, so that the peers
	// that have them answer.
	Probe(ctx context.Context, scope state.Scope, addresses []netip.Addr) error
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
	// Node is what a Kubernetes cluster says of this machine.
	Node mesh.Node
	// Refused tells, by node ID, why a registry did not take affiliates.
	Refused map[string]string
	// Version differs from that of any other knowledge of the same registry; zero
	// is never the same.
	Version uint64
	// Complete tells that discovery was heard since the process began: who is
	// not among Affiliates has left the mesh.
	Complete bool
}

// Trigger is what a pass is done for.
type Trigger struct {
	// PeersOnly tells that nothing is known to have changed: WireGuard's peers are
	// read, and of the rest what the last pass found is taken to hold, if that was
	// not long ago.
	PeersOnly bool
	// NetworkChanged tells that the machine's addresses or routes have changed, so that
	// it is not known any more who can be reached where.
	NetworkChanged bool
	// ClockStep is by how much the clock was set since the last pass.
	ClockStep time.Duration
}

// Engine does passes. It remembers the state of each peer between them and is
// for one goroutine.
type Engine struct {
	// AlwaysInitiate makes this machine open the conversation with every new peer,
	// which a single pass must: no second one would do it later.
	AlwaysInitiate bool
	// LastGood are the endpoints at which peers were last reached, by key; they are
	// tried early. Keep, if set, is given what they have become.
	LastGood     map[mesh.Key]netip.AddrPort
	SaveLastGood func(lastGood map[mesh.Key]netip.AddrPort)
	// LinkMTU, if set, is given the link's MTU in bytes when it has become another; 0
	// when there is no link any more.
	LinkMTU func(mtu int)

	kernel   Kernel
	identify Identify
	store    *resource.Store
	events   *resource.Recorder
	log      *slog.Logger

	statuses map[mesh.Key]peer.Status
	via      map[mesh.Key]mesh.Key
	// byNode are the endpoints at which machines were last reached, by node ID.
	byNode   map[string]netip.AddrPort
	overlaps []mesh.Overlap
	refused  map[string]string
	warned   map[string]bool
	// seen is what the last whole reading found, and its time; a failure or a
	// change makes it void.
	seen   *state.State
	seenAt time.Time
	// gathered is what the last pass made of its inputs.
	gathered *gathered
	// published is what was gathered when resources were last shown as a whole,
	// settled that the last pass came to its end.
	published *gathered
	settled   bool
	// mtu is what LinkMTU was given last; -1 for nothing: what an earlier process told may
	// not hold any more.
	mtu int
	// moved tells that the last pass gave WireGuard another port or the like, so that
	// the peers look for it in the wrong place until they hear of it.
	moved bool
}

// show publishes the config in force.
func (e *Engine) show(now time.Time, config *schema.Config) {
	e.store.Replace(now, resource.MachineConfigs, map[string]any{"machine": resource.MachineConfig{Config: config}})
}

// glanceFor is how long a whole reading of the kernel holds.
const glanceFor = 30 * time.Second

// NewEngine makes an engine that works on kernel and publishes to store.
func NewEngine(kernel Kernel, identify Identify, store *resource.Store, log *slog.Logger) *Engine {
	return &Engine{kernel: kernel, identify: identify, store: store, events: resource.NewRecorder(store), log: log,
		LastGood: map[mesh.Key]netip.AddrPort{}, statuses: map[mesh.Key]peer.Status{}, warned: map[string]bool{}, mtu: -1}
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
	// NextCheck is when the kernel should be looked at again.
	NextCheck time.Duration
	// NetworkChanged tells that the machine's network has changed since the pass before.
	NetworkChanged bool
	// Same tells that config, host and discovery, and who goes through a relay, are
	// what they were in the pass before, which succeeded.
	Same bool

	gathered
	statuses map[mesh.Key]peer.Status
	// via has the peers whose traffic another carries, probes the peers that are to
	// be asked for a sign of life.
	via    map[mesh.Key]mesh.Key
	probes []netip.Addr
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
	// What is gathered here is not what the next pass goes by: it has to see for
	// itself what has changed since the last.
	seen, seenAt, gathered := e.seen, e.seenAt, e.gathered
	p, live, err := e.begin(ctx, now, config, known, Trigger{})
	e.seen, e.seenAt, e.gathered = seen, seenAt, gathered
	if err != nil {
		return nil, err
	}
	redirects := e.step(p, now, config, live, Trigger{})
	for _, peer := range live.Peers {
		delete(redirects, peer.PublicKey)
	}
	return p, e.compare(p, now, config, known, live, redirects)
}

// begin reads the kernel and makes the peers.
func (e *Engine) begin(ctx context.Context, now time.Time, config *schema.Config, known Knowledge, o Trigger) (*Pass, state.State, error) {
	p := &Pass{Scope: state.ScopeOf(config.KubeSpan()), NextCheck: peer.IdleInterval, statuses: map[mesh.Key]peer.Status{}}
	if live, ok := e.glance(ctx, now, p.Scope, config, known, o); ok {
		p.gathered, p.Local = *e.gathered, e.gathered.local
		return p, live, nil
	}
	live, err := e.kernel.Observe(ctx, p.Scope)
	if err != nil {
		return nil, live, fmt.Errorf("read the kernel's state: %w", err)
	}
	e.seen, e.seenAt = &live, now
	if config.KubeSpan().Enabled || config.Cluster.Discovery.Enabled {
		err = e.gather(p, config, known)
	}
	return p, live, err
}

// glance is the state that was last read, with the peers of now.
func (e *Engine) glance(ctx context.Context, now time.Time, scope state.Scope, config *schema.Config, known Knowledge, o Trigger) (state.State, bool) {
	if !o.PeersOnly || e.seen == nil || now.Sub(e.seenAt) >= glanceFor || e.seen.Link.Name == "" ||
		e.gathered == nil || !e.gathered.holds(config, known) {
		return state.State{}, false
	}
	peers, err := e.kernel.Peers(ctx, scope)
	if err != nil {
		return state.State{}, false // the whole reading says why
	}
	live := *e.seen
	live.Peers = peers
	return live, true
}

// compare makes the plan.
func (e *Engine) compare(p *Pass, now time.Time, config *schema.Config, known Knowledge, live state.State, redirects map[mesh.Key]netip.AddrPort) error {
	kubespan := config.KubeSpan()
	if !kubespan.Enabled {
		p.Plan = state.Diff(state.State{}, live)
		return nil
	}
	if err := checkConflicts(live); err != nil {
		return err
	}
	key, err := config.Cluster.Secret.Key()
	if err != nil {
		return fmt.Errorf("cluster.secret %w", err)
	}
	in := state.Inputs{
		Identity:      p.identity,
		KubeSpan:      *kubespan,
		MTU:           p.mtu,
		PresharedKey:  mesh.SecretKey(key),
		PresharedKeys: p.preshared,
		Peers:         p.specs,
		Via:           p.via,
		Statuses:      p.statuses,
		Redirects:     redirects,
	}
	if !known.Complete {
		in.Retain = state.Retained(in, live)
	}
	p.Plan = state.Diff(state.Build(in), live)
	if kubespan.HarvestExtraEndpoints {
		p.Harvested = p.harvest(now)
	}
	return nil
}

// barred refuses to make a mesh beside what is in its way. One that is there
// already stays, since taking it down would help nobody.
func checkConflicts(live state.State) error {
	if live.Owned() {
		return nil
	}
	for _, c := range live.Conflicts {
		if c.Bars {
			return fmt.Errorf("nothing was changed: %s: %s", c.What, c.Remedy)
		}
	}
	return nil
}

// Run is a whole pass: compare, apply, remember and publish.
func (e *Engine) Run(ctx context.Context, now time.Time, config *schema.Config, known Knowledge) (*Pass, error) {
	return e.RunFor(ctx, now, config, known, Trigger{})
}

// RunFor is Run for an occasion.
func (e *Engine) RunFor(ctx context.Context, now time.Time, config *schema.Config, known Knowledge, o Trigger) (*Pass, error) {
	last := e.gathered
	p, live, err := e.begin(ctx, now, config, known, o)
	if err != nil {
		return nil, err
	}
	p.NetworkChanged = o.NetworkChanged || last != nil && !last.host.Equal(p.host)
	o.NetworkChanged = p.NetworkChanged || e.moved
	redirects := e.step(p, now, config, live, o)
	p.Same = last == e.gathered && last != nil && e.settled && maps.Equal(p.via, e.via)
	if err := e.compare(p, now, config, known, live, redirects); err != nil {
		e.settled = false
		return nil, err
	}
	e.warn(now, p, config.KubeSpan().Addresses, live)
	return p, e.apply(ctx, now, p)
}

// apply carries out the plan of a pass and keeps and shows what came of it.
func (e *Engine) apply(ctx context.Context, now time.Time, p *Pass) error {
	p.Result = e.kernel.Apply(ctx, p.Scope, p.Plan)
	e.moved = false
	for _, c := range p.Result.Done {
		e.log.Info("changed", "change", c.String())
		switch c.Object.(type) {
		case state.Peer:
		case state.Link:
			e.moved = c.Action == state.Update
			e.seen = nil
		default:
			e.seen = nil
		}
	}
	if e.moved {
		p.NextCheck = 0
	}
	if p.Result.Err != nil {
		e.seen = nil
	} else {
		e.probeSilent(ctx, p)
	}
	if e.settled = p.Result.Err == nil; e.settled {
		e.publishMTU(p)
	}
	e.remember(now, p)
	e.publish(now, p)
	return p.Err()
}

// publishMTU tells of the link's MTU: of none, where a pass was to remove the link.
func (e *Engine) publishMTU(p *Pass) {
	mtu := 0
	if p.config != nil && p.config.KubeSpan().Enabled {
		mtu = p.mtu
	}
	if e.LinkMTU != nil && mtu != e.mtu {
		e.mtu = mtu
		e.LinkMTU(mtu)
	}
}

// call speaks to the peers that are to give a sign of life.
func (e *Engine) probeSilent(ctx context.Context, p *Pass) {
	if p.NetworkChanged {
		if err := e.kernel.ForgetSources(ctx, p.Scope); err != nil {
			e.log.Warn("WireGuard could not be told that the machine's addresses changed", "error", err)
		}
	}
	if len(p.probes) == 0 {
		return
	}
	if err := e.kernel.Probe(ctx, p.Scope, p.probes); err != nil {
		e.log.Warn("peers that are silent could not be asked for a sign of life", "error", err)
	}
}

// Next is what the machine would publish with another identity.
func (e *Engine) Next(config *schema.Config, known Knowledge, identify Identify) (mesh.Affiliate, error) {
	host, err := e.kernel.Host(config.KubeSpan().InterfaceName)
	if err != nil {
		return mesh.Affiliate{}, fmt.Errorf("read the machine's addresses: %w", err)
	}
	identity, err := identify(config.Cluster.ID, host)
	if err != nil {
		return mesh.Affiliate{}, fmt.Errorf("make another key: %w", err)
	}
	return mesh.LocalAffiliate(identity, config.KubeSpan(), host, known.Seen, known.Node), nil
}

// Remove takes down all that is under the marks of scope.
func (e *Engine) Remove(ctx context.Context, now time.Time, scope state.Scope) (*Pass, error) {
	live, err := e.kernel.Observe(ctx, scope)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's state: %w", err)
	}
	e.seen = nil
	p := &Pass{Scope: scope, NextCheck: peer.IdleInterval, Plan: state.Diff(state.State{}, live), statuses: map[mesh.Key]peer.Status{}}
	return p, e.apply(ctx, now, p)
}

// Move takes away what stands at the place of before and not at that of after.
// Where the link stays, so do its peers.
func (e *Engine) Move(ctx context.Context, now time.Time, before, after state.Scope) (*Pass, error) {
	if before.LinkName != after.LinkName {
		return e.Remove(ctx, now, before)
	}
	live, err := e.kernel.Observe(ctx, before)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's state: %w", err)
	}
	e.seen = nil
	p := &Pass{Scope: before, NextCheck: peer.IdleInterval}
	for _, c := range state.Diff(state.State{}, live) {
		switch c.Object.(type) {
		case state.Route, state.Rule:
			p.Plan = append(p.Plan, c)
		}
	}
	p.Result = e.kernel.Apply(ctx, before, p.Plan)
	return p, p.Err()
}
