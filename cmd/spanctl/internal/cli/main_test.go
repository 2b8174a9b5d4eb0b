package cli

import (
	"os"
	"testing"

	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
)

// TestMain lets the test binary be the process that evaluates configs.
func TestMain(m *testing.M) {
	if evaluate.IsChild(os.Args[1:]) {
		os.Exit(evaluate.Main(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}
