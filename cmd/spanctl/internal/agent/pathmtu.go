package agent

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/netlinkapply/echo"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/latest"
	"github.com/spanmesh/span/reconciler/state"
)

const (
	// pathPause is the least time between the beginnings of two measurements: one takes two packets
	// where all is well.
	pathPause = 50 * time.Millisecond
	// maxPathChecks is how many measurements are under way at most: one of a black hole takes
	// seconds.
	maxPathChecks = 4
	// pathAgain is the pause after which a way is measured again on which large packets were lost,
	// or whose peer did not answer.
	pathAgain = time.Minute
	// maxSilent is how many times a peer that does not answer is asked.
	maxSilent = 3
	// pathWait is how long an answer is waited for.
	pathWait = time.Second
)

// pathMTUs measures, for each new way to a peer, which packets pass.
type pathMTUs struct {
	// queue has the ways that are to be measured.
	queue *latest.Queue[reconciler.Path, pathCheck]
	// measure measures a way, report notes the result and reports whether the way is still in use.
	measure func(context.Context, reconciler.Path) (echo.PathMTU, error)
	report  func(ctx context.Context, path reconciler.Path, full, passes int) (current bool, err error)
	log     *slog.Logger
}

// pathCheck is a measurement that is due.
type pathCheck struct {
	path reconciler.Path
	// silent is how many times the peer did not answer.
	silent int
}

// newPathMTUs returns a measurer of the paths that the engine of a loop reports.
func (d *deps) newPathMTUs(loop *reconciler.Loop) *pathMTUs {
	m := &pathMTUs{queue: latest.New[reconciler.Path, pathCheck](), measure: measureOver(loop.Scope), report: loop.MeasuredMTU, log: d.log}
	d.engine.PathChanged = m.add
	return m
}

// measureOver returns a function that measures ways over the link of a mesh.
func measureOver(scope func() state.Scope) func(context.Context, reconciler.Path) (echo.PathMTU, error) {
	return func(ctx context.Context, path reconciler.Path) (echo.PathMTU, error) {
		conn, link, err := dialEcho(scope(), path.Address)
		if err != nil {
			return echo.PathMTU{}, err
		}
		defer func() { _ = conn.Close() }()
		return conn.PathMTU(ctx, link.MTU, pathWait)
	}
}

// add has a way measured soon. It does not block.
func (m *pathMTUs) add(path reconciler.Path) { m.queue.Push(path, pathCheck{path: path}) }

// run measures until ctx ends.
func (m *pathMTUs) run(ctx context.Context) {
	checks := new(errgroup.Group)
	checks.SetLimit(maxPathChecks)
	defer func() { _ = checks.Wait() }()
	for {
		due, err := m.queue.Next(ctx)
		if err != nil {
			return
		}
		for _, c := range due {
			checks.Go(func() error {
				if again, is := m.check(ctx, c); is {
					time.AfterFunc(pathAgain, func() { m.queue.Push(again.path, again) })
				}
				return nil
			})
			select {
			case <-ctx.Done():
				return
			case <-time.After(pathPause):
			}
		}
	}
}

// check measures a way, and returns whether it is to be measured again.
func (m *pathMTUs) check(ctx context.Context, c pathCheck) (again pathCheck, is bool) {
	found, err := m.measure(ctx, c.path)
	if err != nil {
		m.log.Debug("path not measured", "peer", c.path.Peer.String(), "error", err)
		return c, false // without the right to send echoes, or the link has just gone
	}
	if !found.Answers {
		c.silent++
		return c, c.silent < maxSilent
	}
	c.silent = 0
	current, err := m.report(ctx, c.path, found.Full, found.Passes)
	return c, err == nil && current && found.Passes < found.Full
}
