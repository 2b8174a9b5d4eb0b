package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/netlinkapply/echo"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/latest"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// TestPathsAreMeasuredAgain has ways of each kind measured for an hour.
func TestPathsAreMeasuredAgain(t *testing.T) {
	to := func(n byte) reconciler.Path { return reconciler.Path{Peer: mesh.Key{n}} }
	hole, whole, silent, failing, left, narrows, pauses, flaps := to(1), to(2), to(3), to(4), to(5), to(6), to(7), to(8)
	synctest.Test(t, func(t *testing.T) {
		started, found := time.Now(), time.Time{}
		measured := make(chan reconciler.Path, 1000)
		m := &pathMTUs{queue: latest.New[reconciler.Path, pathCheck](), log: slog.New(slog.DiscardHandler),
			measure: func(_ context.Context, path reconciler.Path) (echo.PathMTU, error) {
				measured <- path
				switch path {
				case whole, flaps:
					return echo.PathMTU{Answers: true, Full: 1420, Passes: 1420}, nil
				case narrows: // after half an hour
					if time.Since(started) < 30*time.Minute {
						return echo.PathMTU{Answers: true, Full: 1420, Passes: 1420}, nil
					}
				case pauses: // for ten minutes
					if since := time.Since(started); since < 20*time.Minute || since > 30*time.Minute {
						return echo.PathMTU{Answers: true, Full: 1420, Passes: 1420}, nil
					}
					return echo.PathMTU{Full: 1420}, nil
				case silent:
					return echo.PathMTU{Full: 1420}, nil
				case failing:
					return echo.PathMTU{}, errors.New("no link")
				case hole:
					if time.Since(started) > 10*time.Minute {
						return echo.PathMTU{Answers: true, Full: 1420, Passes: 1420}, nil // it was mended
					}
				}
				return echo.PathMTU{Answers: true, Full: 1420, Passes: 1280}, nil
			},
			report: func(_ context.Context, path reconciler.Path, _, passes int) (bool, error) {
				if path == narrows && passes < 1420 && found.IsZero() {
					found = time.Now()
				}
				return path != left, nil
			},
			later: func() time.Duration { return pathLater },
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { m.run(ctx); close(done) }()
		for _, path := range []reconciler.Path{hole, whole, silent, failing, left, narrows, pauses} {
			m.add(path)
		}
		for range 60 { // it is down for a moment every minute
			m.add(flaps)
			time.Sleep(time.Minute)
		}
		stop()
		<-done
		times := map[reconciler.Path]int{}
		for range len(measured) {
			times[<-measured]++
		}
		for path, want := range map[reconciler.Path]int{hole: 11 + 9, whole: 12, silent: maxSilent, failing: 1, left: 1, narrows: 6 + 30, pauses: 10 + 6, flaps: 60} {
			if times[path] != want {
				t.Errorf("the way to %d was measured %d times, want %d", path.Peer[0], times[path], want)
			}
		}
		if late := found.Sub(started.Add(30 * time.Minute)); late < 0 || late > pathLater {
			t.Errorf("what begins while a peer is up was found after %s", late)
		}
	})
}

// TestPauseOfPaths has meshes of all sizes.
func TestPauseOfPaths(t *testing.T) {
	turn := func(peers, keepalive int) reconciler.Turn {
		c := &schema.Config{}
		c.KubeSpan().PersistentKeepalive = keepalive
		return reconciler.Turn{Config: c, Peers: make([]resource.Resource, peers)}
	}
	for _, c := range []struct {
		turn reconciler.Turn
		want time.Duration
	}{
		{reconciler.Turn{}, 0},
		{turn(30, 0), 0},
		{turn(1, 25), 5 * time.Minute},
		{turn(600, 25), 5 * time.Minute},
		{turn(6000, 25), 50 * time.Minute},
	} {
		for range 100 {
			if got := pauseOf(c.turn); got < c.want*4/5 || got > c.want*6/5 {
				t.Fatalf("%d peers are measured again after %s", len(c.turn.Peers), got)
			}
		}
	}
}
