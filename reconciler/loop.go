package reconciler

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/peer"
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
	// restShare is how many times longer than a poll costs the loop waits at least. The
	// loop has to poll, because WireGuard does not report changes; 500 keeps that below 0.2 %
	// of a processor. A pass over 1,000 peers takes about 8 ms, so they are read every 4 s.
	restShare = 500
	// dueShare is the same where a peer is expected to change within less than a second, such
	// as one on trial: at most 5 % of a processor, for a short time.
	dueShare = 20
	// maxPollCost and maxPeerCost are more than a poll costs on a slow machine, and each peer of
	// it. Small meshes are thus read at their intervals however busy the machine is.
	maxPollCost = time.Millisecond
	maxPeerCost = 20 * time.Microsecond
	// requestTimeout is how long a request waits for the loop. A pass of 5,000 peers takes
	// seconds.
	requestTimeout = time.Minute
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
	// TableDeleted means that another program deleted a table of nftables. It comes with
	// KernelChanged.
	TableDeleted
)

var (
	// ErrStopped is returned by the methods of a Loop once Run is to end.
	ErrStopped = errors.New("the agent is stopping")
	// ErrBusy is returned by the methods of a Loop when a pass has not ended for
	// requestTimeout.
	ErrBusy = errors.New("the agent has worked on one pass for more than a minute: its log has what it waits for; " +
		"if it is nothing, restart the agent, which leaves the mesh up")
)

// Loop runs passes. Its methods are safe for concurrent use.
type Loop struct {
	// Turned, if set, is called by Run after each turn. It must not wait.
	Turned func(Turn)

	engine    *Engine
	discovery *Discovery
	log       *slog.Logger

	// requests are functions for the goroutine of Run.
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
	// known is what Know was told last; nil once the loop has taken it.
	known atomic.Pointer[health.Known]
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
	repairs  repairBackoff
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
	l.engine.recordNormal(time.Now(), agentStarted, "", "the agent has started")
	next := time.NewTimer(lastRetry)
	defer next.Stop()
	collect := newAlarm()
	defer collect.stop()
	for {
		l.endTurn()
		polling := false
		select {
		case <-ctx.Done():
			return
		case request := <-l.requests:
			request(ctx)
			continue
		case <-l.judge:
			l.assess(0)
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
			if collect.within(collectDelay) {
				continue // that pass reads all
			}
			polling = true
		}
		next.Reset(l.assess(l.tick(ctx, polling)))
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
		l.engine.recordNormal(now(), clockSet, "", "the clock was set by "+step.Round(time.Second).String())
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

// pollCost returns what a poll of some peers costs, of the processor's time, from what was
// known before and how long the last one took. That may be much longer, as other programs run
// meanwhile: for one poll, or for hours.
func pollCost(before, took time.Duration, peers int) time.Duration {
	took = min(took, maxPollCost+time.Duration(peers)*maxPeerCost)
	if before == 0 {
		return took
	}
	return min(took, before+before/4)
}

// nextPoll returns how long to wait after a pass, if the next reading may wait for next, and
// polls cost some time.
func nextPoll(next, cost time.Duration) time.Duration {
	share := time.Duration(restShare)
	if next < peer.ActiveInterval {
		share = dueShare
	}
	return min(max(next, share*cost), peer.IdleInterval)
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
		pass, err = l.engine.RunFor(ctx, now(), l.config, l.discovery.Knowledge(), t)
	} else {
		l.engine.holdFailure(now(), err)
	}
	if err != nil {
		l.failures++
		return pass, err
	}
	if l.failures > 0 {
		l.engine.recordNormal(now(), passRecovered, "", "a pass succeeded after some that failed")
	}
	l.failures = 0
	l.discovery.Publish(Publication{Local: pass.Local, Harvested: pass.Harvested})
	if pass.NetworkChanged {
		l.engine.recordNormal(now(), networkChanged, "", "this machine's addresses or routes have changed, or it was suspended")
		l.discovery.NetworkChanged()
	}
	return pass, nil
}

// Scope returns the ownership marks of the config in force; none before the first.
func (l *Loop) Scope() state.Scope {
	if scope := l.scope.Load(); scope != nil {
		return *scope
	}
	return state.Scope{}
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

// Stand makes found the present conditions of a code that no pass finds, with or without a mesh.
func (l *Loop) Stand(ctx context.Context, code condition.Code, found ...condition.Condition) error {
	_, err := onLoop(ctx, l, func(context.Context) (struct{}, error) {
		l.engine.stand(time.Now(), code, found)
		return struct{}{}, nil
	})
	return err
}

// Health returns the health of the machine.
func (l *Loop) Health(ctx context.Context) (health.Report, error) {
	return onLoop(ctx, l, func(context.Context) (health.Report, error) {
		l.assess(0)
		return l.engine.health(), nil
	})
}

// Sessions returns the connections to the registries of the config in force.
func (l *Loop) Sessions(ctx context.Context) ([]health.Session, error) {
	return onLoop(ctx, l, func(context.Context) ([]health.Session, error) { return l.discovery.Sessions(), nil })
}

// Know tells what is known of the agent's files. It does not block.
func (l *Loop) Know(known health.Known) {
	l.known.Store(&known)
	select {
	case l.judge <- struct{}{}:
	default:
	}
}

// InForce returns the config that the loop keeps in force; nil before the first. It stays while
// the mesh is down.
func (l *Loop) InForce() *schema.Config { return l.inForce.Load() }

// assess judges the machine's health, and returns how long that may rest, at most next.
func (l *Loop) assess(next time.Duration) time.Duration {
	at := time.Now()
	if known := l.known.Swap(nil); known != nil {
		l.engine.known = *known
	}
	l.engine.assess(at)
	if due := health.Due(at, l.engine.snapshot(), l.engine.conditions); due > 0 {
		return min(next, due)
	}
	return next
}

// onLoop runs f on the goroutine of Run and waits for what it returns. It does not wait for a
// pass that hangs in the kernel: neither when the loop stops, nor for longer than
// requestTimeout.
func onLoop[T any](ctx context.Context, l *Loop, f func(ctx context.Context) (T, error)) (result T, err error) {
	type answer struct {
		result T
		err    error
	}
	answers := make(chan answer, 1)
	request := func(loopCtx context.Context) {
		result, err := f(loopCtx)
		answers <- answer{result, err}
	}
	tooLong := time.NewTimer(requestTimeout)
	defer tooLong.Stop()
	select {
	case l.requests <- request:
	case <-l.stopping:
		return result, ErrStopped
	case <-ctx.Done():
		return result, ctx.Err()
	case <-tooLong.C:
		return result, ErrBusy
	}
	select {
	case a := <-answers:
		return a.result, a.err
	case <-l.stopping:
		return result, ErrStopped
	case <-tooLong.C:
		return result, ErrBusy
	}
}

// SetConfig puts a config in force, does a pass and returns it. A mesh that was taken down
// comes up again. Objects under other ownership marks of the config before are moved or removed
// first.
func (l *Loop) SetConfig(ctx context.Context, config *schema.Config) (pass *Pass, err error) {
	return onLoop(ctx, l, func(ctx context.Context) (*Pass, error) {
		if l.config != nil {
			if before := state.ScopeOf(l.config.KubeSpan()); before != state.ScopeOf(config.KubeSpan()) {
				if _, err := l.engine.Move(ctx, before, state.ScopeOf(config.KubeSpan())); err != nil {
					l.engine.holdFailure(now(), err)
					l.log.Error("config not put in force; the one before stays", "error", err)
					return nil, err
				}
			}
		}
		l.config, l.down = config, false
		l.inForce.Store(config)
		l.engine.asked = health.Mesh{InForce: true, Disabled: !config.KubeSpan().Enabled}
		l.engine.publishConfig(time.Now(), config)
		l.Wake(InputChanged) // the registries answer after this pass
		pass, err := l.pass(ctx, Trigger{})
		if err == nil {
			l.engine.recordNormal(now(), configApplied, "", "a config was put in force")
		}
		return pass, err
	})
}

// Diff compares the kernel with a config, the one in force if nil, and changes nothing.
// Known is what the config's registries know; nil for those that the loop follows.
func (l *Loop) Diff(ctx context.Context, config *schema.Config, known *Knowledge) (*Pass, error) {
	return onLoop(ctx, l, func(context.Context) (*Pass, error) {
		if config == nil {
			config = l.config
		}
		if config == nil {
			return nil, ErrNoConfig
		}
		if known == nil {
			current := l.discovery.Knowledge()
			known = &current
		}
		return l.engine.Plan(now(), config, *known)
	})
}

// ErrNoConfig is returned before the first config.
var ErrNoConfig = errors.New("the agent has no config yet; apply one with `spanctl apply -f FILE`")

// SameDiscovery reports whether the loop follows the registries that config asks for.
func (l *Loop) SameDiscovery(ctx context.Context, config *schema.Config) (bool, error) {
	return onLoop(ctx, l, func(context.Context) (bool, error) { return l.discovery.Same(config), nil })
}

// Down leaves discovery and removes the mesh. The loop stays idle until the next
// SetConfig. The pass warns of a registry that was not left; Down again leaves it.
func (l *Loop) Down(ctx context.Context) (*Pass, error) {
	return onLoop(ctx, l, func(ctx context.Context) (*Pass, error) {
		if l.config == nil {
			return nil, ErrNoConfig
		}
		var left error
		if !l.down || l.leaveFailed {
			left = LeaveDiscovery(ctx, l.discovery, l.config)
		}
		l.down, l.leaveFailed = true, left != nil
		l.engine.asked = health.Mesh{Down: true}
		pass, err := l.engine.Remove(ctx, time.Now(), state.ScopeOf(l.config.KubeSpan()))
		l.engine.assess(time.Now())
		if pass != nil {
			pass.Warn(left)
		}
		return pass, err
	})
}

// Remove takes down what find returns, which is not that of the config in force.
func (l *Loop) Remove(ctx context.Context, find func() ([]state.Scope, error)) (*Pass, error) {
	return onLoop(ctx, l, func(ctx context.Context) (*Pass, error) {
		scopes, err := find()
		if err != nil {
			return nil, err
		}
		l.Wake(KernelChanged)
		return l.engine.RemoveAll(ctx, time.Now(), scopes)
	})
}

// RotateKey gives the machine another key pair, as the function RotateKey does, and does a
// pass that uses it.
func (l *Loop) RotateKey(ctx context.Context, r Rotation) (*Pass, error) {
	return onLoop(ctx, l, func(ctx context.Context) (*Pass, error) {
		switch {
		case l.config == nil:
			return nil, ErrNoConfig
		case l.down:
			return nil, ErrNoMesh
		}
		untold, err := RotateKey(ctx, l.engine, l.discovery, l.config, r)
		if err != nil {
			return nil, err
		}
		l.engine.recordNormal(now(), keyRotated, "", "this machine has another WireGuard key")
		pass, err := l.pass(ctx, Trigger{})
		if pass != nil {
			pass.Warn(untold)
		}
		return pass, err
	})
}

// ResetIdentity calls replace, which stores another identity of the machine, and does a pass
// that uses it. What registries have under the old node ID stays: another machine has it,
// too. The pass is nil where no mesh is up.
func (l *Loop) ResetIdentity(ctx context.Context, replace func() error) (*Pass, error) {
	return onLoop(ctx, l, func(ctx context.Context) (*Pass, error) {
		// The registries are opened again for the new node ID.
		l.discovery.Close()
		l.Wake(InputChanged)
		if err := replace(); err != nil || l.config == nil || l.down {
			return nil, err
		}
		pass, err := l.pass(ctx, Trigger{})
		if err == nil {
			pass.WarnUntold(l.discovery.Announce(ctx, pass.Local))
		}
		return pass, err
	})
}
