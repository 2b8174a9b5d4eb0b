package e2e_test

import (
	"os"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/interop"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m, harness.Everywhere, interop.Commands)) }
