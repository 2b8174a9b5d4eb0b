package statedir

import (
	"os"
	"testing"

	"github.com/spanmesh/span/netlinkapply/netnstest"
)

// TestMain runs the tests in a mount namespace of their own: some mount a small disk.
func TestMain(m *testing.M) { os.Exit(netnstest.Main(m.Run)) }
