package reconciler

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

const (
	// settle is how long a pass waits for more news to come with the first.
	settle = 50 * time.Millisecond
	// retryAtLeast and retryAtMost bound the wait after a pass that failed,
	// which doubles from one to the next.
	retryAtLeast = time.Second
	retryAtMost  = 30 * time.Second
	// share is how many times longer the loop rests than a pass took, so that
	// looking at WireGuard, which tells nobody of changes, costs next to nothing;
	// restAtLeast is the least.
	share       = 2000
	restAtLeast = time.Second
)

// Why a pass is asked for.
type Why uint32

// The reasons to wake a Loop.
const (
	// News: discovery or the config has something new.
	News Why = 1 << iota
	// Drift: something changed in the kernel.
	Drift
	// NetworkChanged: the machine was asleep, or its clock was set.
	NetworkChanged
)

// ErrStopped is returned by the methods of a Loop that does not run any more.
var ErrStopped = errors.New("the agent is stopping")

// Loop runs passes. Its methods are safe for concurrent use.
type Loop struct {
	engine    *Engine
	discovery *Discovery
	log       *slog.Logger

	requests chan func(ctx context.Context)
	wake     chan struct{}
	why      atomic.Uint32
	clockSet atomic.Int64
	scope    atomic.Pointer[state.Scope]
	stopped  chan struct{}

	// What follows belongs to the goroutine of Run.
	config *schema.Config
	// down is set after Down, leaveFailed if the registries still have the machine then.
	down, leaveFailed bool
	failures          int
	repairs           repairBackoff
}

// NewLoop makes a loop. Run must be called for it to do anything.
func NewLoop(engine *Engine, discovery *Discovery, log *slog.Logger) *Loop {
	return &Loop{
		engine:    engine,
		discovery: discovery,
		log:       log,
		requests:  make(chan func(context.Context)),
		wake:      make(chan struct{}, 1),
		stopped:   make(chan struct{}),
	}
}

// Run does passes until ctx ends, and leaves the mesh as it is then.
func (l *Loop) Run(ctx context.Context) {
	defer close(l.stopped)
	defer l.discovery.Close()
	// There is nothing to do before there is a config, which wakes.
	next := time.NewTimer(retryAtMost)
	defer next.Stop()
	for {
		glance := false
		select {
		case <-ctx.Done():
			return
		case request := <-l.requests:
			request(ctx)
			continue
		case <-l.wake:
			l.await(ctx, settle+l.repairPause())
			// What came meanwhile is in this pass.
			select {
			case <-l.wake:
			default:
			}
		case <-next.C:
			glance = true
		}
		next.Reset(l.tick(ctx, glance))
	}
}

// repairPause returns how long to wait before another external change is reverted.
func (l *Loop) repairPause() time.Duration {
	if Why(l.why.Load()) != Drift {
		return 0
	}
	return max(time.Until(l.repairs.until), 0)
}

// await lets time pass while requests are served.
func (l *Loop) await(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case request := <-l.requests:
			request(ctx)
		case <-timer.C:
			return
		}
	}
}

// tick does a pass if there is a config, logs its error and tells when the next
// is due. A glance is enough where nothing asked for the pass but time.
func (l *Loop) tick(ctx context.Context, glance bool) time.Duration {
	why := Why(l.why.Swap(0))
	if l.config == nil || l.down {
		return retryAtMost
	}
	began := time.Now()
	pass, err := l.pass(ctx, Trigger{PeersOnly: glance && why == 0, NetworkChanged: why&NetworkChanged != 0,
		ClockStep: time.Duration(l.clockSet.Swap(0))})
	if err != nil {
		if ctx.Err() == nil {
			l.log.Error("the pass failed", "error", err, "retry_in", l.retryIn().String())
		}
		return l.retryIn()
	}
	if why&News == 0 {
		l.reportRepairs(pass)
	}
	rest := min(max(share*time.Since(began), restAtLeast), peer.IdleInterval)
	return min(rest, pass.NextCheck)
}

func (l *Loop) retryIn() time.Duration {
	return min(retryAtLeast<<min(l.failures-1, 10), retryAtMost)
}

// pass is one pass with the current config.
func (l *Loop) pass(ctx context.Context, o Trigger) (*Pass, error) {
	var pass *Pass
	err := l.discovery.Follow(l.config, func() { l.Wake(News) })
	if err == nil {
		scope := state.ScopeOf(l.config.KubeSpan())
		l.scope.Store(&scope)
		pass, err = l.engine.RunFor(ctx, time.Now(), l.config, l.discovery.Knowledge(), o)
	}
	if err != nil {
		l.failures++
		return pass, err
	}
	l.failures = 0
	l.discovery.Publish(Publication{Local: pass.Local, Harvested: pass.Harvested})
	if pass.NetworkChanged {
		l.discovery.NetworkChanged()
	}
	return pass, nil
}

// Scope is what is spanctl's in the kernel, as far as a config was ever in force.
func (l *Loop) Scope() state.Scope {
	if scope := l.scope.Load(); scope != nil {
		return *scope
	}
	return state.Scope{}
}

// Wake asks for a pass soon, and says why. It never blocks.
func (l *Loop) Wake(why Why) {
	l.why.Or(uint32(why))
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Woken tells that the machine was suspended, or its clock set by some time.
func (l *Loop) Woken(set time.Duration) {
	l.clockSet.Add(int64(set))
	l.Wake(NetworkChanged)
}

// do runs f on the loop's goroutine and waits for it.
func (l *Loop) do(ctx context.Context, f func(ctx context.Context)) error {
	done := make(chan struct{})
	request := func(loopCtx context.Context) {
		defer close(done)
		f(loopCtx)
	}
	select {
	case l.requests <- request:
	case <-l.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}

// SetConfig puts a config in force, does a pass and returns it. A mesh that was
// taken down comes up again. What the previous config owned under other marks
// is removed first.
func (l *Loop) SetConfig(ctx context.Context, config *schema.Config) (pass *Pass, err error) {
	return l.request(ctx, func(ctx context.Context) (*Pass, error) {
		if l.config != nil {
			if before := state.ScopeOf(l.config.KubeSpan()); before != state.ScopeOf(config.KubeSpan()) {
				if _, err := l.engine.Move(ctx, time.Now(), before, state.ScopeOf(config.KubeSpan())); err != nil {
					return nil, err
				}
			}
		}
		l.config, l.down = config, false
		l.engine.publishConfig(time.Now(), config)
		l.Wake(News) // and again soon, with what discovery says then
		return l.pass(ctx, Trigger{})
	})
}

// Diff compares the kernel with a config, the current one if nil, and changes
// nothing. Known is what discovery knows under that config; nil stands for
// what the loop knows.
func (l *Loop) Diff(ctx context.Context, config *schema.Config, known *Knowledge) (*Pass, error) {
	return l.request(ctx, func(ctx context.Context) (*Pass, error) {
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
		return l.engine.Plan(ctx, time.Now(), config, *known)
	})
}

// ErrNoConfig says that no config was ever in force.
var ErrNoConfig = errors.New("the agent has no config yet; apply one with `spanctl apply -f FILE`")

// SameDiscovery reports whether the loop follows the registries that config asks for.
func (l *Loop) SameDiscovery(ctx context.Context, config *schema.Config) (same bool, err error) {
	err = l.do(ctx, func(context.Context) { same = l.discovery.Same(config) })
	return same, err
}

// Down leaves discovery and removes the mesh. The loop stays idle until the next
// SetConfig. With a LeaveError the mesh is removed; Down again leaves again.
func (l *Loop) Down(ctx context.Context) (*Pass, error) {
	return l.request(ctx, func(ctx context.Context) (*Pass, error) {
		if l.config == nil {
			return nil, ErrNoConfig
		}
		var left error
		if !l.down || l.leaveFailed {
			left = LeaveDiscovery(ctx, l.discovery, l.config)
		}
		l.down, l.leaveFailed = true, left != nil
		pass, err := l.engine.Remove(ctx, time.Now(), state.ScopeOf(l.config.KubeSpan()))
		if err == nil {
			err = left
		}
		return pass, err
	})
}

// request is do for what yields a pass.
func (l *Loop) request(ctx context.Context, f func(ctx context.Context) (*Pass, error)) (pass *Pass, err error) {
	if stopped := l.do(ctx, func(ctx context.Context) { pass, err = f(ctx) }); stopped != nil {
		return nil, stopped
	}
	return pass, err
}

// RotateKey gives the machine another key pair, as the function RotateKey does, and does a
// pass that uses it.
func (l *Loop) RotateKey(ctx context.Context, next Identify, keep func() error) (*Pass, error) {
	return l.request(ctx, func(ctx context.Context) (*Pass, error) {
		switch {
		case l.config == nil:
			return nil, ErrNoConfig
		case l.down:
			return nil, ErrNoMesh
		}
		if err := RotateKey(ctx, l.engine, l.discovery, l.config, next, keep); err != nil {
			return nil, err
		}
		return l.pass(ctx, Trigger{})
	})
}
