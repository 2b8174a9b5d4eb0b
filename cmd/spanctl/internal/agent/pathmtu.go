package agent

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
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
	// pathLater is about how long it takes until a way is measured again on which all packets
	// passed: it may lose large ones from some time on. For many peers it is laterEach for each.
	pathLater = 5 * time.Minute
	laterEach = time.Second / 2
	// maxSilent is how many times in a row a peer that does not answer is asked.
	maxSilent = 3
	// pathWait is how long an answer is waited for.
	pathWait = time.Second
)

// pathMTUs measures, for each new way to a peer and from then on at a slow pace, which packets
// pass.
type pathMTUs struct {
	// queue has the ways that are to be measured.
	queue *latest.Queue[reconciler.Path, pathCheck]
	// measure measures a way, report notes the result and reports whether the way is still in use.
	measure func(context.Context, reconciler.Path) (echo.PathMTU, error)
	report  func(ctx context.Context, path reconciler.Path, full, passes int) (current bool, err error)
	// later returns after how long a way is measured again that is as it should be; zero for
	// never.
	later func() time.Duration
	log   *slog.Logger

	// timers are those of the ways that are to be measured again. Mu guards them.
	mu     sync.Mutex
	timers map[reconciler.Path]*time.Timer
}

// pathCheck is a measurement that is due.
type pathCheck struct {
	path reconciler.Path
	// silent is how many times in a row the peer did not answer.
	silent int
	// answered is set once it did.
	answered bool
}

// newPathMTUs returns a measurer of the paths that the engine of a loop reports.
func (d *deps) newPathMTUs(loop *reconciler.Loop) *pathMTUs {
	m := &pathMTUs{queue: latest.New[reconciler.Path, pathCheck](), measure: measureOver(loop.Scope), report: loop.MeasuredMTU,
		later: func() time.Duration { return pauseOf(loop.Last()) }, log: d.log}
	d.engine.PathChanged = m.add
	return m
}

// pauseOf returns after how long a way is measured again. Where WireGuard sends nothing to peers at
// rest, they are left alone.
func pauseOf(last reconciler.Turn) time.Duration {
	if last.Config == nil || last.Config.KubeSpan().PersistentKeepalive == 0 {
		return 0
	}
	pause := max(pathLater, time.Duration(len(last.Peers))*laterEach)
	// All ways are new when the agent starts: they are not measured at once for ever.
	return pause*4/5 + rand.N(pause*2/5) //nolint:gosec // no secret
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
	defer m.stop()
	defer func() { _ = checks.Wait() }()
	for {
		due, err := m.queue.Next(ctx)
		if err != nil {
			return
		}
		for _, c := range due {
			checks.Go(func() error {
				if again, pause := m.check(ctx, c); pause > 0 {
					m.schedule(again, pause)
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

// stop has nothing measured any more. It is called when no check runs.
func (m *pathMTUs) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.timers {
		t.Stop()
	}
	clear(m.timers)
}

// schedule has a way measured after a pause, and not when it was to be before. A peer that goes down
// and comes up often is measured as rarely as others.
func (m *pathMTUs) schedule(c pathCheck, pause time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timers == nil {
		m.timers = map[reconciler.Path]*time.Timer{}
	}
	if before := m.timers[c.path]; before != nil {
		before.Stop()
	}
	var timer *time.Timer
	timer = time.AfterFunc(pause, func() {
		m.queue.Push(c.path, c)
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.timers[c.path] == timer {
			delete(m.timers, c.path)
		}
	})
	m.timers[c.path] = timer
}

// check measures a way, and returns after how long it is to be measured again; zero for never.
func (m *pathMTUs) check(ctx context.Context, c pathCheck) (again pathCheck, pause time.Duration) {
	found, err := m.measure(ctx, c.path)
	if err != nil {
		m.log.Debug("path not measured", "peer", c.path.Peer.String(), "error", err)
		found.Answers = false // without the right to send echoes, or the link has just gone
		c.silent = maxSilent
	}
	if !found.Answers {
		c.silent++
		switch {
		case c.silent < maxSilent:
			return c, pathAgain
		case c.answered:
			c.silent = 0
			return c, m.later()
		default:
			return c, 0
		}
	}
	c.silent, c.answered = 0, true
	current, err := m.report(ctx, c.path, found.Full, found.Passes)
	switch {
	case err != nil || !current:
		return c, 0
	case found.Passes < found.Full:
		return c, pathAgain
	default:
		return c, m.later()
	}
}
