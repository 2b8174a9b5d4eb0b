package gateway

import (
	"os"
	"testing"

	"github.com/spanmesh/span/netlinkapply/netnstest"
)

func TestMain(m *testing.M) { os.Exit(netnstest.Main(m.Run)) }
