package agent

import (
	"os"
	"testing"

	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate/evaluatetest"
	"github.com/spanmesh/span/netlinkapply/netnstest"
)

// TestMain lets the test binary be the process that evaluates configs. The tests run in a network
// namespace of their own: other tests of this machine may hold the lock of the same link.
func TestMain(m *testing.M) {
	evaluatetest.Main()
	os.Exit(netnstest.Main(m.Run))
}

// isWhole is what the watch of a file says that no process writes.
func isWhole() bool { return true }
