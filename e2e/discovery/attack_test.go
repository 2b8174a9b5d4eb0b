package discovery_test

import (
	"context"
	"debug/buildinfo"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/attack"
	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/soak"
)

// brief are the attacks that TestServerWithstandsAttacks runs, one of each kind. All of them,
// and at their whole size, run with `make attack-discovery`.
var brief = []string{
	"window-watches", "tcp-watches-addresses", "tcp-lists", "unread-hello",
	"slow-headers", "idle", "idle-tls", "slow-bodies",
	"rapid-reset-grpc", "continuation", "settings", "ping-grpc", "header-bomb-connect",
	"huge-messages", "gzip-grpc", "gzip-json", "clusters-no-rates", "tokens", "pages",
}

// TestServerWithstandsAttacks bounds the server's memory under attack. How fast it answers
// meanwhile depends on what else this machine does, so only that it answers counts.
func TestServerWithstandsAttacks(t *testing.T) {
	t.Parallel()
	o := attack.Options{Binary: harness.Binary(t), Hold: time.Second, Scale: 10}
	detectsRaces := hasRaceDetector(t, o.Binary)
	found := 0
	for _, a := range attack.All() {
		if !slices.Contains(brief, a.Name) {
			continue
		}
		found++
		// One after the other, since each uses the processor as much as it can.
		t.Run(a.Name, func(t *testing.T) {
			result, err := attack.Run(harness.Context(t), o, a)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(result.Row())
			if err := result.CheckMemory(); err != nil && !detectsRaces {
				t.Error(err)
			}
			if result.Service.Updates == 0 {
				t.Errorf("a well-behaved client was not served: %v", result.Service.Failures)
			}
		})
	}
	if found != len(brief) {
		t.Errorf("%d of %d attacks exist", found, len(brief))
	}
}

// hasRaceDetector reports whether a Go program was built with the race detector, which takes
// several times the memory.
func hasRaceDetector(t *testing.T, path string) bool {
	t.Helper()
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestSoak is a short `make soak-discovery`.
func TestSoak(t *testing.T) {
	t.Parallel()
	o := soak.Options{Binary: harness.Binary(t), Lasting: 8 * time.Second, Cycles: 8, Growth: soak.Growth, Log: t.Output()}
	if hasRaceDetector(t, o.Binary) {
		o.Growth *= 20
	}
	// Cycles with attacks take as long as the machine makes them.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := soak.Run(ctx, o); err != nil {
		t.Fatal(err)
	}
}
