package agent

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/logring"
	"github.com/spanmesh/span/cmd/spanctl/internal/metrics"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/event"
	"github.com/spanmesh/span/reconciler/latest"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/retry"
	"github.com/spanmesh/span/schema"
)

// Options are the options of Run.
type Options struct {
	Machine
	// Config is the path of the machine config.
	Config string
	// Reload asks for the config file to be read again, as SIGHUP does.
	Reload <-chan os.Signal
	// Records has the last records of the log; it may be nil.
	Records *logring.Ring
	// Ready is called once the API is served and the first attempt to put the stored
	// config in force has ended. It may be nil.
	Ready func()
	// Turned is reconciler.Loop.Turned. It may be nil.
	Turned func(reconciler.Turn)
}

const (
	// lastEndpointsDelay is how long changes of the last endpoints are collected before
	// they are written.
	lastEndpointsDelay = time.Second
	// stopTimeout is how long an agent that is to stop waits for what it does.
	stopTimeout = 2 * time.Second
	// watchRetry and watchRetryMax are the first and the longest pause before a failed
	// watch is begun again.
	watchRetry    = time.Second
	watchRetryMax = 30 * time.Second
)

// Run is an agent until ctx ends. It leaves the mesh up.
func Run(ctx context.Context, o Options) (err error) {
	dir := statedir.At(o.StateDir)
	dir.Agent = true
	if err := dir.LockWithin(ctx, lockPatience); err != nil {
		if running := runsAlready(o.Socket); running != nil && errors.Is(err, statedir.ErrBusy) {
			return running
		}
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	d, err := o.open(dir)
	if err != nil {
		return err
	}
	listener, err := listen(o.Socket)
	if err != nil {
		d.close()
		return err
	}
	o.Log.Info("agent started", "config", o.Config, "state_dir", o.StateDir, "socket", o.Socket)
	if err = o.runWithin(ctx, d, listener); errors.Is(err, errHangs) {
		o.Log.Warn("agent stopped in the middle of a pass; the mesh stays up", "error", err)
		return nil
	}
	d.close()
	o.Log.Info("agent stopped; the mesh stays up")
	return err
}

// claimLink refuses to start beside an agent that works on the link of the config. Without a
// config that is valid, the passes find out.
func (m *configManager) claimLink(ctx context.Context, d *deps) error {
	name, data, err := m.file.Read()
	if err != nil {
		return nil
	}
	config, err := m.eval.load(ctx, name, data)
	if err != nil {
		return nil
	}
	return d.locks.Hold(config.KubeSpan().InterfaceName)
}

// errHangs is the error of an agent that has not ended within stopTimeout.
var errHangs = errors.New("a call of the kernel, of WireGuard or of a registry has not returned")

// runWithin is run that returns within stopTimeout once ctx ends, whatever hangs. What is
// still under way then ends with the process, as in a crash.
func (o Options) runWithin(ctx context.Context, d *deps, listener net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- o.run(ctx, d, listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(stopTimeout):
		return errHangs
	}
}

// run serves the API, and runs the loop and its watches, until ctx ends.
func (o Options) run(ctx context.Context, d *deps, listener net.Listener) error {
	begun := time.Now()
	d.engine.Started = begun
	loop := reconciler.NewLoop(d.engine, d.newDiscovery(), o.Log)
	meter := metrics.New(func() metrics.State { return measure(time.Now(), loop.Last(), d.store) })
	d.engine.Meter = meter
	sampler := newSampler(machineNow())
	ports := newSharedPorts(openShared, loop.Stand, o.Log)
	outsider, paths, mapper, tunnels := newOutsider(loop, ports, o.Log), newPathfinder(loop, ports, d.store, o.Log), d.newPortMapper(loop), d.newTunneler(loop)
	host := d.newRelayHost(ctx, loop, meter)
	namer := d.newNamer(ctx, loop)
	loop.Turned = sampler.turns(outsider.turns.after(paths.turns.after(mapper.turns.after(tunnels.turns.after(host.turns.after(namer.turns.after(o.Turned)))))))
	lastGood := latest.New[struct{}, endpoints]()
	d.restoreEvents()
	d.engine.SaveLastGood = func(e endpoints) { lastGood.Push(struct{}{}, e) }
	mtus := d.newPathMTUs(loop)
	runner := loopRunner{deps: d, loop: loop}
	configs, trials := o.newConfigs(d, runner)
	configs.recordEvent = func(ctx context.Context, severity resource.Severity, reason event.Reason, message string) {
		_ = loop.Record(ctx, severity, reason, "", message) // it fails where the agent stops
	}
	started := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	api := &service{runner: runner, links: runner, started: started, configs: configs, log: o.Log, records: o.Records,
		health: agentHealth{started: begun, loop: loop, store: d.store, names: namer}, metrics: meter.Handler(), samples: sampler}
	group.Go(func() error { return serve(ctx, listener, api) })
	for _, offer := range []offer{metricsOffer(meter.Handler()), d.apiOffer(api)} {
		group.Go(func() error { d.listen(ctx, offer, loop); return nil })
	}
	group.Go(func() error { o.watchKernel(ctx, loop, configs); return nil })
	group.Go(func() error {
		if err := configs.claimLink(ctx, d); err != nil {
			return err
		}
		if configs.start(ctx); ctx.Err() != nil {
			return nil
		}
		close(started)
		if o.Ready != nil {
			o.Ready()
		}
		configfile.Watch{File: configs.file, Changed: func(whole func() bool) {
			configs.changed(ctx, whole)
			_ = loop.Stand(ctx, condition.ConfigAmbiguous, ambiguous(configs.file.Several())...) // as below
		}, Trouble: func(err error) {
			_ = loop.Stand(ctx, condition.ConfigUnwatched, unwatched(err)...) // it fails where the agent stops
		}}.Run(ctx)
		return nil
	})
	for _, run := range []func(context.Context){loop.Run, loop.WatchStuck, mtus.run, ports.run, outsider.run, paths.run, mapper.run, tunnels.run, host.run, namer.run, d.saveEvents} {
		group.Go(func() error { run(ctx); return nil })
	}
	group.Go(func() error { o.followReload(ctx, configs); return nil })
	group.Go(func() error { d.saveLastGood(ctx, lastGood); return nil })
	group.Go(func() error { configs.followTrials(ctx, trials); return nil })
	group.Go(func() error {
		select {
		case <-ctx.Done():
		case <-started:
			configs.keepKnown(ctx, o.Socket, loop.Know)
		}
		return nil
	})
	return group.Wait()
}

// newConfigs returns the manager of the configs of a loop, and the trials that it begins.
func (o Options) newConfigs(d *deps, runner loopRunner) (*configManager, <-chan trial.Record) {
	trials := make(chan trial.Record, 1)
	return &configManager{
		eval: &evaluator{}, file: configfile.At(o.Config), dir: d.dir, runner: runner, log: o.Log,
		takes: func(config *schema.Config) bool { return runner.loop.InForce() == config },
		news:  make(chan struct{}, 1),
		trialBegan: func(record trial.Record) {
			select {
			case trials <- record:
			default:
			}
		},
	}, trials
}

// watchKernel wakes the loop when another program changes the kernel's network state, and when the
// clock is set.
func (o Options) watchKernel(ctx context.Context, loop *reconciler.Loop, configs *configManager) {
	o.watch(ctx, "kernel", func(ctx context.Context) error {
		return netlinkapply.Watch(ctx, loop.Scope, func(tableDeleted bool) {
			reason := reconciler.KernelChanged
			if tableDeleted {
				reason |= reconciler.TableDeleted
			}
			loop.Wake(reason)
		}, func(step time.Duration) {
			loop.ClockStepped(step)
			configs.changedNow() // it says when a trial ends
		})
	})
}

// followReload reads the config file again whenever Reload receives.
func (o Options) followReload(ctx context.Context, configs *configManager) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.Reload:
			_, _ = configs.reload(ctx) // it and the loop log their errors
		}
	}
}

// errWatchEnded is the error of a watch that ended without one.
var errWatchEnded = errors.New("the watch ended")

// watch restarts a failed watch until ctx ends. Without the watch the mesh works, but is
// repaired later.
func (o Options) watch(ctx context.Context, what string, watch func(context.Context) error) {
	_ = retry.Do(ctx, retry.New(watchRetry, watchRetryMax), func(err error, retryIn time.Duration) {
		o.Log.Error("watch failed", "watched", what, "error", err, "retry_in", retryIn.String())
	}, func(ctx context.Context) error {
		return cmp.Or(watch(ctx), ctx.Err(), errWatchEnded)
	}) // its error is ctx's
}

// endpoints are where peers were last reached.
type endpoints = map[mesh.Key]netip.AddrPort

// saveLastGood writes down where peers are reached, for a start without discovery.
func (d *deps) saveLastGood(ctx context.Context, queue *latest.Queue[struct{}, endpoints]) {
	for {
		values, err := queue.Next(ctx)
		if err != nil {
			return
		}
		if err := d.dir.SaveLastGood(values[len(values)-1]); err != nil {
			d.log.Error("endpoint cache not written", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(lastEndpointsDelay):
		}
	}
}
