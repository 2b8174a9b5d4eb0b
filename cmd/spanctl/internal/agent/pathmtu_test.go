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
)

// TestPathsAreMeasuredAgain has ways of each kind measured for an hour.
func TestPathsAreMeasuredAgain(t *testing.T) {
	hole, whole, silent, failing, left := reconciler.Path{Peer: mesh.Key{1}}, reconciler.Path{Peer: mesh.Key{2}}, reconciler.Path{Peer: mesh.Key{3}},
		reconciler.Path{Peer: mesh.Key{4}}, reconciler.Path{Peer: mesh.Key{5}}
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		measured := make(chan reconciler.Path, 1000)
		m := &pathMTUs{queue: latest.New[reconciler.Path, pathCheck](), log: slog.New(slog.DiscardHandler),
			measure: func(_ context.Context, path reconciler.Path) (echo.PathMTU, error) {
				measured <- path
				switch path {
				case whole:
					return echo.PathMTU{Answers: true, Full: 1420, Passes: 1420}, nil
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
			report: func(_ context.Context, path reconciler.Path, _, _ int) (bool, error) { return path != left, nil },
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { m.run(ctx); close(done) }()
		for _, path := range []reconciler.Path{hole, whole, silent, failing, left} {
			m.add(path)
		}
		time.Sleep(time.Hour)
		stop()
		<-done
		times := map[reconciler.Path]int{}
		for range len(measured) {
			times[<-measured]++
		}
		for path, want := range map[reconciler.Path]int{hole: 12, whole: 1, silent: maxSilent, failing: 1, left: 1} {
			if times[path] != want {
				t.Errorf("the way to %d was measured %d times, want %d", path.Peer[0], times[path], want)
			}
		}
	})
}
