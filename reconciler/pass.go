package reconciler

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// Pass is what one pass found and did.
type Pass struct {
	// Scope is what the pass worked on.
	Scope state.Scope
	// Plan is the difference between the kernel and the desired document.
	Plan state.Plan
	// Result is how far the plan was carried out.
	Result state.Result
	// Local is what the machine should publish.
	Local mesh.Affiliate
	// Harvested has the endpoints of other machines that these do not list themselves, by
	// node ID.
	Harvested map[string][]netip.AddrPort
	// NextCheck is how long the next reading of the kernel may wait.
	NextCheck time.Duration
	// NetworkChanged is set when the machine's network has changed since the last pass.
	NetworkChanged bool
	// Same is set when the last pass succeeded, and config, host, discovery and relays have
	// not changed since.
	Same bool
	// Conditions are what is wrong, sorted.
	Conditions []condition.Condition
	// Held is the number of repairs that were left out of Plan, since they are held back.
	Held int
	// Warnings are failures outside of the plan, such as publishing to discovery.
	Warnings []string

	gathered
	// patched is how that differs from what the last pass has gathered.
	patched patched
	// last is what was gathered before, if this pass has gathered anew; nil otherwise.
	last *gathered
	// inherits is set if peers that are as before have their prefixes from last.
	inherits bool
	// respecified are the peers whose claims were asked for anew, and those whose prefixes have changed
	// hands, are contested, or were, by key.
	respecified map[mesh.Key]bool
	// whole is set when the pass has read all of the kernel's state, and not only the peers.
	whole bool
	// overAll is set when the pass works on all peers, whatever has changed.
	overAll bool
	// peers are the connections to the peers of gathered.specs, in the same order.
	peers peer.Connections
	// stepped are the indexes of the peers that the pass has stepped, and allStepped is set if these are
	// all. The others are at rest, and as the last pass has left them.
	stepped    []int
	allStepped bool
	// registered are the blind relays with which the machine is registered, and relayPeers what
	// WireGuard is to have for all. relaysMoved is set if the last pass had others.
	registered  []peer.BlindRelay
	relayPeers  []state.RelayPeer
	relaysMoved bool
	// direct is what is known of direct paths.
	direct Direct
	// ownersChanged is set when claims, states or owners of prefixes have changed.
	ownersChanged bool
	// moved is set when a prefix has another owner than in the last pass.
	moved bool
	// desired is what the plan leads to.
	desired state.State
	// unconverged are the changes, as text, that the pass has found not to converge.
	unconverged map[string]bool
	// converged is set when a change held that did not before.
	converged bool
	// probes are to be sent.
	probes []peer.Probe
}

// Warn adds an error that does not fail the pass; nil is none.
func (p *Pass) Warn(err error) {
	if err != nil {
		p.Warnings = append(p.Warnings, err.Error())
	}
}

// WarnUntold warns that no registry has accepted what the machine publishes. A config with static
// peers only has nowhere to publish.
func (p *Pass) WarnUntold(err error) {
	if err != nil && !errors.Is(err, ErrNoPublisher) {
		p.Warn(fmt.Errorf("the other machines were not told of this one: %w", err))
	}
}

// add appends a pass that was done after p.
func (p *Pass) add(next *Pass) {
	done := p.Result.Done
	p.Scope, p.Result = next.Scope, next.Result
	p.Result.Done = slices.Concat(done, next.Result.Done)
	p.Plan = append(p.Plan, next.Plan...)
	p.Conditions, p.Warnings = append(p.Conditions, next.Conditions...), append(p.Warnings, next.Warnings...)
}

// Report adds a condition that the pass has found.
func (p *Pass) Report(found ...condition.Condition) {
	p.Conditions = condition.Sort(append(p.Conditions, found...))
}

// Err returns the error that ended the pass early, with what was and was not done.
func (p *Pass) Err() error {
	if p.Result.Err == nil {
		return nil
	}
	return &ApplyError{Result: p.Result}
}

// ApplyError is the error of a plan that was carried out in part.
type ApplyError struct{ Result state.Result }

func (e *ApplyError) Error() string {
	what := "the plan"
	if e.Result.Failed != nil {
		what = planprint.Describe(e.Result.Failed).String()
	}
	return fmt.Sprintf("%s: %v (%d of %d changes were made before; the next pass tries the rest again)",
		what, e.Result.Err, len(e.Result.Done), len(e.Result.Done)+len(e.Result.NotDone))
}

func (e *ApplyError) Unwrap() error { return e.Result.Err }

// compare makes the plan.
func (p *Pass) compare(now time.Time, config *schema.Config, known Knowledge, live state.State, d *document) error {
	kubespan := config.KubeSpan()
	if !kubespan.Enabled {
		p.Plan = state.Diff(state.State{}, live)
		return nil
	}
	if err := checkBlocking(live); err != nil {
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
		Connections:   p.peers,
		Relays:        p.relayPeers,
		Neighbours:    live.Neighbours,
	}
	if !known.Complete {
		in.Retain = state.Retained(in, live)
	}
	p.desired = d.build(p, in)
	p.Plan = state.Diff(p.desired, live)
	if kubespan.HarvestExtraEndpoints {
		p.Harvested = p.peers.Harvest(now, p.identity.PublicKey, p.specs)
	}
	return nil
}

// checkBlocking returns an error when something that another program owns prevents a mesh.
// A mesh that exists already stays: taking it down would not help.
func checkBlocking(live state.State) error {
	if live.Owned() {
		return nil
	}
	for _, c := range live.Conditions {
		if c.Blocking {
			return fmt.Errorf("nothing was changed: %w", &condition.Error{Condition: c})
		}
	}
	return nil
}
