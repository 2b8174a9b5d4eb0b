package cli

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/spanmesh/span/discoveryhttp/server"
)

// fit returns the limits of a server with flags, and what it logs of them.
func fit(t *testing.T, args ...string) (server.Limits, string) {
	t.Helper()
	f := &serveOptions{limits: server.DefaultLimits()}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	f.flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	if err := f.fitMemory(slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	return f.limits, log.String()
}

func TestLimitsThatAreGivenStay(t *testing.T) {
	limits, log := fit(t, "--max-memory", "256MiB", "--max-connections", "20000", "--max-id", "100")
	if limits.Connections.Connections != 20_000 || limits.ID != 100 {
		t.Errorf("given limits were changed: %+v", limits)
	}
	if limits.Watches >= server.DefaultLimits().Watches {
		t.Errorf("%d watches are not fewer than usual", limits.Watches)
	}
	if !strings.Contains(log, "allow more memory") {
		t.Errorf("the log does not warn of the given limits: %q", log)
	}
}

func TestLimitThatIsTurnedOffLeavesTheOthers(t *testing.T) {
	limits, log := fit(t, "--max-memory", "64Gi", "--max-watches", "0")
	want := server.DefaultLimits()
	want.Watches = 0
	if limits.Connections.Connections != want.Connections.Connections || limits.Watches != 0 || limits.Store != want.Store {
		t.Errorf("with --max-watches 0, the limits are %+v", limits)
	}
	if !strings.Contains(log, "allow more memory") {
		t.Errorf("the log does not warn of the limit that is off: %q", log)
	}
}
