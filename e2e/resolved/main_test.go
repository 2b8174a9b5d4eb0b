package resolved_test

import (
	"os"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m, harness.HostOnly, nil)) }
