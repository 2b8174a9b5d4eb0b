package cli

import (
	"os"
	"testing"

	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate/evaluatetest"
)

// TestMain lets the test binary be the process that evaluates configs.
func TestMain(m *testing.M) {
	evaluatetest.Main()
	os.Exit(m.Run())
}
