package reconciler_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/static"
)

// lines is a log at Info.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.text.String()), "\n")
}

// maxQuietLines is how many lines at Info or above an hour with something that does not answer may have.
const maxQuietLines = 10

// TestAnHourWithOneUnreachablePeerIsQuiet has the real loop try a peer with three endpoints, none
// of which answers, while discovery does not answer either.
func TestAnHourWithOneUnreachablePeerIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lines{}
		logger := slog.New(slog.NewTextHandler(log, nil))
		r := &running{store: &resource.Store{}, kernel: &fakeKernel{}, registry: &fakeRegistry{}}
		engine := reconciler.NewEngine(r.kernel, identify, r.store, logger)
		engine.Started = time.Now()
		r.Loop = reconciler.NewLoop(engine, discovery(r.registry.driver("fake"), static.Driver()), logger)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Run(ctx)
		}()
		r.registry.learn(affiliate(1, "10.0.0.1:51820", "192.0.2.1:51820", "198.51.100.1:51820"))
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		begun := len(log.all()) // the changes that make the mesh
		r.registry.connect(health.Session{URL: "https://d", State: health.Failed, Since: time.Now(), Failure: failure.Failure{Class: failure.Refused, Text: "connection refused"}})
		after(time.Hour)
		hour := log.all()[begun:]
		if len(hour) > maxQuietLines {
			t.Errorf("%d lines in an hour, such as:\n%s", len(hour), strings.Join(hour[:30], "\n"))
		}
		for _, code := range []string{"DiscoveryUnreachable", "peer down"} {
			if !strings.Contains(strings.Join(hour, "\n"), code) {
				t.Errorf("no %q:\n%s", code, strings.Join(hour, "\n"))
			}
		}
		stop()
		<-done
	})
}
