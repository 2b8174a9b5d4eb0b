package discovery_test

import (
	"maps"
	"os"
	"testing"

	"github.com/spanmesh/span/e2e/internal/attack"
	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/soak"
	"github.com/spanmesh/span/e2e/interop"
	"github.com/spanmesh/span/e2e/lab"
)

func TestMain(m *testing.M) {
	commands := map[string]lab.Subcommand{hostileCommand: hostileService}
	for _, set := range []map[string]lab.Subcommand{interop.Commands, attack.Commands, soak.Commands} {
		maps.Copy(commands, set)
	}
	os.Exit(harness.Main(m, harness.HostOnly, commands))
}
