package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// Registry is a machine's seat in discovery. Its methods do not wait for the
// network, but for Announce and Close.
type Registry interface {
	// Known is what discovery knows now.
	Known() Knowledge
	// Publish says what the others should know, from now on.
	Publish(local mesh.Affiliate, harvested map[string][]netip.AddrPort)
	// Announce says so now, and waits until discovery has taken it.
	Announce(ctx context.Context, local mesh.Affiliate) error
	// NetworkChanged tells that the machine's network has changed.
	NetworkChanged()
	// Close ends the membership of this process; with leave, the others are
	// told that the machine has left.
	Close(leave bool)
}

// Discover takes a seat in the discovery that config describes. It calls
// changed whenever Known has changed.
type Discover func(config *schema.Config, changed func()) (Registry, error)

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
	engine   *Engine
	discover Discover
	log      *slog.Logger

	requests chan func(ctx context.Context)
	wake     chan struct{}
	why      atomic.Uint32
	clockSet atomic.Int64
	scope    atomic.Pointer[state.Scope]
	stopped  chan struct{}

	// What follows belongs to the goroutine of Run.
	config   *schema.Config
	down     bool
	registry Registry
	seat     seat
	failures int
	fight    fight
}

// seat is what a Registry depends on: another one is needed when it changes.
type seat struct {
	enabled bool
	id      string
	secret  schema.Secret
	mark    uint32
	service schema.ServiceRegistry
	// kubernetes is asked for the others, or with pods for this machine's Node.
	kubernetes schema.KubernetesRegistry
	pods       bool
}

func seatOf(c *schema.Config) seat {
	if c == nil || !c.AsksDiscovery() {
		return seat{}
	}
	registries := c.Cluster.Discovery.Registries
	return seat{enabled: true, id: c.Cluster.ID, secret: c.Cluster.Secret, service: registries.Service,
		kubernetes: registries.Kubernetes, pods: c.KubeSpan().AdvertiseKubernetesNetworks, mark: c.KubeSpan().FirewallMark}
}

// NewLoop makes a loop. Run must be called for it to do anything.
func NewLoop(engine *Engine, discover Discover, log *slog.Logger) *Loop {
	return &Loop{
		engine:   engine,
		discover: discover,
		log:      log,
		requests: make(chan func(context.Context)),
		wake:     make(chan struct{}, 1),
		stopped:  make(chan struct{}),
	}
}

// Run does passes until ctx ends, and leaves the mesh as it is then.
func (l *Loop) Run(ctx context.Context) {
	defer close(l.stopped)
	defer l.leave(false)
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
			l.await(ctx, settle+l.calm())
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

// calm is how long to leave alone what someone else changes all the time.
func (l *Loop) calm() time.Duration {
	if Why(l.why.Load()) != Drift {
		return 0
	}
	return max(time.Until(l.fight.until), 0)
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
		l.repaired(pass)
	}
	rest := min(max(share*time.Since(began), restAtLeast), peer.IdleInterval)
	return min(rest, pass.NextCheck)
}

func (l *Loop) retryIn() time.Duration {
	return min(retryAtLeast<<min(l.failures-1, 10), retryAtMost)
}

// pass is one pass with the current config.
func (l *Loop) pass(ctx context.Context, o Trigger) (*Pass, error) {
	known, err := l.take()
	var pass *Pass
	if err == nil {
		scope := state.ScopeOf(l.config.KubeSpan())
		l.scope.Store(&scope)
		pass, err = l.engine.RunFor(ctx, time.Now(), l.config, known, o)
	}
	if err != nil {
		l.failures++
		return pass, err
	}
	l.failures = 0
	if l.registry != nil {
		l.registry.Publish(pass.Local, pass.Harvested)
		if pass.NetworkChanged {
			l.registry.NetworkChanged()
		}
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

// take makes sure of the right seat in discovery and returns what it knows.
func (l *Loop) take() (Knowledge, error) {
	if wanted := seatOf(l.config); !reflect.DeepEqual(wanted, l.seat) {
		// With another mark on its packets the machine is still where it was.
		before := l.seat
		before.mark = wanted.mark
		l.leave(!reflect.DeepEqual(wanted, before))
		if wanted.enabled {
			registry, err := l.discover(l.config, func() { l.Wake(News) })
			if err != nil {
				return Knowledge{}, err
			}
			l.registry = registry
		}
		l.seat = wanted
	}
	return l.known(), nil
}

// known is what discovery knows: all there is, where none is asked.
func (l *Loop) known() Knowledge {
	if l.registry == nil {
		return Knowledge{Complete: l.config != nil && !l.config.Cluster.Discovery.Registries.AskOthers(), Version: 1}
	}
	return l.registry.Known()
}

func (l *Loop) leave(forGood bool) {
	if l.registry != nil {
		l.registry.Close(forGood)
	}
	l.registry, l.seat = nil, seat{}
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
			current := l.known()
			known = &current
		}
		return l.engine.Plan(ctx, time.Now(), config, *known)
	})
}

// ErrNoConfig says that no config was ever in force.
var ErrNoConfig = errors.New("the agent has no config yet; apply one with `spanctl apply -f FILE`")

// SameDiscovery tells whether the loop's knowledge of discovery holds for config.
func (l *Loop) SameDiscovery(ctx context.Context, config *schema.Config) (same bool, err error) {
	err = l.do(ctx, func(context.Context) { same = reflect.DeepEqual(seatOf(config), l.seat) })
	return same, err
}

// Down leaves discovery and removes the mesh. The loop stays idle until the
// next SetConfig.
func (l *Loop) Down(ctx context.Context) (*Pass, error) {
	return l.request(ctx, func(ctx context.Context) (*Pass, error) {
		if l.config == nil {
			return nil, ErrNoConfig
		}
		l.down = true
		l.leave(true)
		return l.engine.Remove(ctx, time.Now(), state.ScopeOf(l.config.KubeSpan()))
	})
}

// request is do for what yields a pass.
func (l *Loop) request(ctx context.Context, f func(ctx context.Context) (*Pass, error)) (pass *Pass, err error) {
	if stopped := l.do(ctx, func(ctx context.Context) { pass, err = f(ctx) }); stopped != nil {
		return nil, stopped
	}
	return pass, err
}

// RotateKey gives the machine another key pair, in the order that loses least:
// the new public key is announced, then used. Next makes the pair, keep makes it
// the machine's. Without discovery to announce it, nothing is changed: nobody
// would know the machine any more.
func (l *Loop) RotateKey(ctx context.Context, next Identify, keep func() error) (*Pass, error) {
	return l.request(ctx, func(ctx context.Context) (*Pass, error) {
		switch {
		case l.config == nil:
			return nil, ErrNoConfig
		case l.registry == nil || l.down || !l.config.KubeSpan().Enabled:
			return nil, ErrNoMesh
		}
		local, err := l.engine.Next(l.config, l.registry.Known(), next)
		if err != nil {
			return nil, err
		}
		if err := l.registry.Announce(ctx, local); err != nil {
			return nil, fmt.Errorf("the key was not changed, since the others could not be told: %w", err)
		}
		if err := keep(); err != nil {
			return nil, err
		}
		return l.pass(ctx, Trigger{})
	})
}

// ErrNoMesh says that there is no mesh with discovery to announce a key in.
var ErrNoMesh = errors.New("the machine is in no mesh with a discovery service")
