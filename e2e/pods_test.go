package e2e_test

import (
	"fmt"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestPodsOfTheConfig has pods whose networks are in the config, without an API server.
func TestPodsOfTheConfig(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "pods reach pods over networks of the config, over IPv4 and IPv6 and without fragments")
	m := harness.NewMesh(t, 2)
	networks := [][]string{{"10.42.1.0/24", "fd42:0:0:1::/64"}, {"10.42.2.0/24", "fd42:0:0:2::/64"}}
	for i, machine := range m.Machines {
		machine.Files.WriteConfig(harness.Edit(m.Config, fmt.Sprintf("advertisedNetworks: [%q, %q]", networks[i][0], networks[i][1])))
	}
	m.Start()
	m.AwaitUp()
	var pods []*harness.Machine
	for i, machine := range m.Machines {
		pods = append(pods, machine.AddPod(fmt.Sprintf("pod-%d", i+1), networks[i]...))
		machine.API.AwaitNetwork(m.Machines[1-i].Name, networks[1-i][0])
	}
	harness.PodsReachEachOther(pods, networks)
	m.AwaitNoDiff()
}
