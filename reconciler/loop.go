package reconciler

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/spanmesh/span/reconciler/event"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/retry"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

const (
	// collectDelay is how long a pass waits for more changes after the first.
	collectDelay = 50 * time.Millisecond
	// firstRetry and lastRetry are the first and the longest pause after a failed pass.
	// The pauses double.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// maxFailedDelay bounds how long a pass waits after one that failed when the kernel changes,
	// which may have mended it.
	maxFailedDelay = 3 * time.Second
)

// WakeReason is a reason for a pass. Reasons can be combined.
type WakeReason uint32

// The reasons to wake a Loop.
const (
	// InputChanged means that the config or the content of a registry changed.
	InputChanged WakeReason = 1 << iota
	// KernelChanged means that another program changed the kernel's network state.
	KernelChanged
	// Resumed means that the machine was suspended or its clock was set.
	Resumed
	// PathsChanged means that there are other direct paths to peers.
	PathsChanged
	// TableDeleted means that another program deleted a table of nftables. It comes with
	// KernelChanged.
	TableDeleted
)

// Loop runs passes. Its methods are safe for concurrent use.
type Loop struct {
	// Turned, if set, is called by Run after each turn. It must not wait.
	Turned func(Turn)

	engine    *Engine
	discovery *Discovery
	log       *slog.Logger

	// requests are functions for the goroutine of Run. Each ends the turn itself.
	requests chan func(ctx context.Context)
	// wake has an element while a pass is asked for.
	wake chan struct{}
	// reasons are the WakeReasons since the last pass.
	reasons atomic.Uint32
	// clockStep is by how much the clock was set since the last pass.
	clockStep atomic.Int64
	// scope is that of the config in force; nil before the first.
	scope atomic.Pointer[state.Scope]
	// last is the last turn.
	last atomic.Pointer[Turn]
	// stuck is set while it is published that the loop is stuck.
	stuck atomic.Bool
	// known is the last argument of Know; nil once the loop has taken it.
	known atomic.Pointer[health.Known]
	// direct is the last argument of SetDirect; nil before the first.
	direct atomic.Pointer[Direct]
	// tunnels is the last argument of SetTunnels; nil before the first.
	tunnels atomic.Pointer[map[mesh.Key]netip.AddrPort]
	// offer is the last argument of SetOffer; nil before the first.
	offer atomic.Pointer[Offer]
	// serving is the last argument of SetServing; nil once it was taken.
	serving atomic.Pointer[health.OfferedRelay]
	// nudged are the arguments of Nudged that the loop has not taken.
	nudged nudges
	// judge has an element while known is to be taken.
	judge chan struct{}
	// inForce is the config that the loop keeps in force; nil before the first.
	inForce atomic.Pointer[schema.Config]
	// stopping is closed when the context of Run has ended.
	stopping chan struct{}

	// The fields below belong to the goroutine of Run.

	// config is in force; nil before the first.
	config *schema.Config
	// down is set after Down.
	down bool
	// leaveFailed is set if a registry may still have the machine after Down.
	leaveFailed bool
	// failures is the number of passes that failed in a row.
	failures int
	// addressed is set once this machine was published with addresses.
	addressed bool
	repairs   repairBackoff
	// networkChanges is Turn.NetworkChanges.
	networkChanges int
	// cost is the estimate of pollCost; zero before the first poll.
	cost time.Duration
}

// NewLoop returns a loop that does nothing before Run.
func NewLoop(engine *Engine, discovery *Discovery, log *slog.Logger) *Loop {
	engine.sessions = discovery.Sessions
	l := &Loop{
		engine:    engine,
		discovery: discovery,
		log:       log,
		requests:  make(chan func(context.Context)),
		wake:      make(chan struct{}, 1),
		judge:     make(chan struct{}, 1),
		stopping:  make(chan struct{}),
	}
	l.endTurn()
	return l
}

// Run does passes until ctx ends. It leaves the mesh up.
func (l *Loop) Run(ctx context.Context) {
	// A pass may be under way, and hang.
	context.AfterFunc(ctx, func() { close(l.stopping) })
	defer l.discovery.Close()
	l.engine.recordNormal(time.Now(), event.AgentStarted, "", "the agent has started")
	next, collect := newAlarm(), newAlarm()
	defer next.stop()
	defer collect.stop()
	next.set(time.Now().Add(lastRetry))
	l.endTurn()
	for {
		if due := l.engine.due; due > 0 {
			next.by(time.Now().Add(due))
		}
		polling := false
		select {
		case <-ctx.Done():
			return
		case request := <-l.requests:
			request(ctx)
			continue
		case <-l.judge:
			l.assess()
			l.endTurn()
			continue
		case <-l.wake:
			collect.by(time.Now().Add(l.collectDelay()))
			continue
		case <-collect.C:
			collect.rang()
			// This pass covers the changes that arrived while it was put off.
			select {
			case <-l.wake:
			default:
			}
		case <-next.C:
			next.rang()
			if collect.within(collectDelay) {
				continue // that pass reads all
			}
			polling = true
		}
		wait := l.tick(ctx, polling)
		l.assess()
		l.endTurn()
		next.set(time.Now().Add(wait))
	}
}

// collectDelay returns how long to put off the pass for a wake. A pass that would only revert
// repeated changes of another program waits for the next repair. News does not.
// A deleted table is repaired at once: while both are missing, packets for the mesh leave in
// clear.
func (l *Loop) collectDelay() time.Duration {
	reasons, delay := WakeReason(l.reasons.Load()), collectDelay
	if reasons&TableDeleted != 0 {
		delay = 0
	}
	if reasons&^TableDeleted != KernelChanged {
		return delay
	}
	if l.failures > 0 && reasons&TableDeleted == 0 {
		// A pass that fails may have changed the kernel, and that back.
		delay = min(l.retryIn(), maxFailedDelay)
	}
	return max(time.Until(l.repairs.until), delay)
}

// tick does a pass, if there is a config, and returns the wait before the next. Polling is
// set if only time has passed since the last one.
func (l *Loop) tick(ctx context.Context, polling bool) time.Duration {
	var reasons WakeReason
	if !polling {
		reasons = WakeReason(l.reasons.Swap(0))
	}
	if l.config == nil || l.down {
		return lastRetry
	}
	started := time.Now()
	l.repairs.resetIfQuiet(started)
	step := time.Duration(l.clockStep.Swap(0))
	if step != 0 {
		l.engine.recordNormal(now(), event.ClockSet, "", "the clock was set by "+step.Round(time.Second).String())
	}
	pass, err := l.pass(ctx, Trigger{DeviceOnly: polling, NetworkChanged: reasons&Resumed != 0,
		ClockStep: step, Held: l.repairs.held(started), Contested: l.repairs.contested})
	if err != nil {
		if ctx.Err() == nil {
			l.log.Error("reconcile failed", "error", err, "retry_in", l.retryIn().String())
		}
		return l.retryIn()
	}
	if reasons&InputChanged == 0 {
		l.reportRepairs(pass)
	}
	if polling {
		l.cost = pollCost(l.cost, time.Since(started), len(pass.peers))
	}
	return nextPoll(pass.NextCheck, l.cost)
}

// now returns the time of a pass. It has no monotonic part: connections are moved by
// Trigger.ClockStep where the clock is set, and time in suspend counts.
func now() time.Time { return time.Now().Round(0) }

// retryIn returns the pause after a failed pass.
func (l *Loop) retryIn() time.Duration { return retry.Pause(l.failures, firstRetry, lastRetry) }

// pass does one pass with the config in force.
func (l *Loop) pass(ctx context.Context, t Trigger) (pass *Pass, err error) {
	started := time.Now()
	defer func() { l.engine.Meter.Pass(time.Since(started), err) }()
	err = l.discovery.Follow(l.config, func() { l.Wake(InputChanged) })
	if err == nil {
		scope := state.ScopeOf(l.config.KubeSpan())
		l.scope.Store(&scope)
		l.takePaths()
		pass, err = l.engine.RunFor(ctx, now(), l.config, l.discovery.Knowledge(), t)
	} else {
		l.engine.holdFailure(now(), err)
	}
	if err != nil {
		l.failures++
		return pass, err
	}
	if l.failures > 0 {
		l.engine.recordNormal(now(), event.PassRecovered, "", "a pass succeeded after some that failed")
	}
	l.failures = 0
	l.publish(pass)
	if pass.NetworkChanged {
		l.networkChanges++
		l.engine.recordNormal(now(), event.NetworkChanged, "", "this machine's addresses or routes have changed, or it was suspended")
		l.discovery.NetworkChanged()
	}
	l.engine.probe(pass, l.networkChanges)
	return pass, nil
}

// publish has the registries publish what the pass has made. Where a machine loses all its addresses, since no
// link connects it to others any more, they keep what they have: nobody could be told of less, and what was told
// first on the way back would be that it has none. The peers would then send in clear to those that it still has.
func (l *Loop) publish(pass *Pass) {
	if len(pass.host.Addresses) > 0 {
		l.addressed = true
	} else if len(pass.host.Offline) > 0 && l.addressed {
		return
	}
	publication := Publication{Local: pass.Local, Harvested: pass.Harvested}
	if l.config.KubeSpan().Enabled && l.config.KubeSpan().Relay.UsesBlind() {
		publication.JoinAs = pass.identity.PrivateKey
	}
	l.discovery.Publish(publication)
}

// takePaths gives the engine what is known of paths and relays.
func (l *Loop) takePaths() {
	if direct := l.direct.Load(); direct != nil {
		l.engine.direct = *direct
	}
	if tunnels := l.tunnels.Load(); tunnels != nil {
		l.engine.tunnels = *tunnels
	}
	if offer := l.offer.Load(); offer != nil {
		l.engine.offer = *offer
	}
	if from := l.nudged.take(); from != nil {
		l.engine.nudged = from
	}
}

// Scope returns the ownership marks of the config in force; none before the first.
func (l *Loop) Scope() state.Scope {
	if scope := l.scope.Load(); scope != nil {
		return *scope
	}
	return state.Scope{}
}

// SetOutside sets how NATs map the machine's port, as servers see it, and asks for a pass that publishes
// it. It does not block.
func (l *Loop) SetOutside(outside mesh.Outside) {
	l.discovery.SetOutside(outside)
	l.Wake(InputChanged)
}

// SetPortMappings sets the ports that the router maps to the machine's, or why it maps none, and asks
// for a pass that publishes them. It does not block.
func (l *Loop) SetPortMappings(router []mesh.PortMapping, faults []mesh.PortMappingFault) {
	l.discovery.SetPortMappings(router, faults)
	l.Wake(InputChanged)
}

// Wake asks for a pass soon. It does not block.
func (l *Loop) Wake(reason WakeReason) {
	l.reasons.Or(uint32(reason))
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// ClockStepped asks for a pass after the machine was suspended or its clock was set; step is
// by how much it was set.
func (l *Loop) ClockStepped(step time.Duration) {
	l.clockStep.Add(int64(step))
	l.Wake(Resumed)
}
