package e2e_test

import (
	"fmt"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// TestPunching has two machines that a relay connects. Then packets pass between their NATs.
func TestPunching(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "two machines behind NATs move from a relay to a direct path while data flows, and no packet is lost")
	m := withTwoServers(t)
	m.Serve("--relay", ":51821", "--state-dir", m.Discovery.Dir)
	home, office := m.AddBehindNAT(lab.Cone, "home"), m.AddBehindNAT(lab.Preserving, "office")
	apart := m.RouterOf(home).Exec.StartNodecmd("partition", m.RouterOf(office).Address.String())
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	relayed := func(spec map[string]any) bool { return harness.IsUp(spec) && spec["blindRelay"] != nil }
	home.API.AwaitPeer("office", relayed)
	office.API.AwaitPeer("home", relayed)

	pinging := home.Packets.KeepPinging(office.API.MeshAddress())
	apart.Terminate()
	at := func(machine *harness.Machine, port int) func(map[string]any) bool {
		endpoint := fmt.Sprintf("%v:%d", m.RouterOf(machine).Address, port)
		return func(spec map[string]any) bool { return harness.IsUp(spec) && spec["endpoint"] == endpoint }
	}
	home.API.AwaitPeer("office", at(office, 51820))
	office.API.AwaitPeer("home", at(home, lab.MappedPort))
	if pings := pinging.Stop(); pings.Lost() > 0 {
		t.Errorf("%d of %d pings were lost", pings.Lost(), pings.Sent)
	}
	m.AwaitNoDiff()
}
