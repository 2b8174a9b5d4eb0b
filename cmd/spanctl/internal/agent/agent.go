package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/latest"
	"github.com/spanmesh/span/reconciler/mesh"
)

// Options are those of an agent.
type Options struct {
	Machine
	// Config is the path of the machine config, Socket that of the API.
	Config, Socket string
	// Reload asks for the config file to be read again, as SIGHUP does.
	Reload <-chan os.Signal
	// Ready is called when the API is served and the config, if there is one, was put in
	// force or could not be. It may be nil.
	Ready func()
}

const (
	// socketMask leaves a new socket to its owner.
	socketMask = 0o177
	// shutdownTimeout is how long calls have to end once the agent stops.
	shutdownTimeout = 3 * time.Second
	// lastEndpointsDelay is how long changes of the last endpoints are collected before
	// they are written.
	lastEndpointsDelay = time.Second
	// watchPause is the wait before a watch that failed is begun again.
	watchPause = time.Second
)

// Run is an agent until ctx ends. It leaves the mesh up.
func Run(ctx context.Context, o Options) (err error) {
	p, err := o.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	listener, err := listen(o.Socket)
	if err != nil {
		return err
	}
	loop := reconciler.NewLoop(p.engine, p.newDiscovery(), o.Log)
	lastGood := latest.New[struct{}, endpoints]()
	p.engine.SaveLastGood = func(e endpoints) { lastGood.Push(struct{}{}, e) }
	p.engine.LinkMTU = func(mtu int) {
		if err := tellMTU(filepath.Dir(o.Socket), mtu); err != nil {
			o.Log.Error("the MTU of the link could not be written down for network plugins", "error", err)
		}
	}
	file := configfile.At(o.Config)
	k := &keeper{file: file, dir: p.dir, loop: loop, log: o.Log, trials: make(chan struct{}, 1)}
	o.Log.Info("the agent starts", "config", o.Config, "state_dir", o.StateDir, "socket", o.Socket)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { loop.Run(ctx); return nil })
	group.Go(func() error { return serve(ctx, listener, &api{parts: p, keeper: k, loop: loop}) })
	group.Go(func() error {
		return o.persist(ctx, "changes in the kernel", func() error {
			return netlinkapply.Watch(ctx, loop.Scope, func() { loop.Wake(reconciler.KernelChanged) }, loop.ClockStepped)
		})
	})
	group.Go(func() error {
		k.start(ctx)
		if o.Ready != nil {
			o.Ready()
		}
		return o.persist(ctx, "changes of the config file", func() error {
			return file.Watch(ctx, func() { k.changed(ctx) })
		})
	})
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-o.Reload:
				_, _ = k.reload(ctx, "reload") // the keeper and the loop log their errors
			}
		}
	})
	group.Go(func() error { p.saveLastGood(ctx, lastGood); return nil })
	group.Go(func() error { k.followTrials(ctx); return nil })
	err = group.Wait()
	o.Log.Info("the agent stopped; the mesh stays up")
	return err
}

// endpoints are where peers were last reached.
type endpoints = map[mesh.Key]netip.AddrPort

// saveLastGood writes down where peers are reached, for a start without discovery.
func (p *parts) saveLastGood(ctx context.Context, queue *latest.Queue[struct{}, endpoints]) {
	for {
		values, err := queue.Next(ctx)
		if err != nil {
			return
		}
		if err := p.dir.SaveLastGood(values[len(values)-1]); err != nil {
			p.log.Error("where peers are reached could not be written down", "error", err)
		}
		// What comes meanwhile is written together.
		select {
		case <-ctx.Done():
		case <-time.After(lastEndpointsDelay):
		}
	}
}

// persist begins what watches again until ctx ends: a mesh without repair is
// better than none.
func (o Options) persist(ctx context.Context, what string, watch func() error) error {
	for ctx.Err() == nil {
		if err := watch(); err != nil && ctx.Err() == nil {
			o.Log.Error("following "+what+" failed; trying again", "error", err, "retry_in", watchPause.String())
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
	return nil
}

// listen opens the socket at path for its owner alone. A socket that nobody
// answers any more is replaced.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the socket's directory: %w", err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return nil, errors.Join(fmt.Errorf("another agent answers at %s", path), c.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace the old socket: %w", err)
	}
	// The mask is the process's: nothing else makes files yet.
	before := unix.Umask(socketMask)
	defer unix.Umask(before)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for the API: %w", err)
	}
	return listener, nil
}

// serve answers the API until ctx ends.
func serve(ctx context.Context, listener net.Listener, a *api) error {
	server := newServer(ctx, a)
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		err := server.Shutdown(ctx)
		if err != nil {
			err = server.Close()
		}
		stopped <- err
	})
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API: %w", err)
	}
	return <-stopped
}
