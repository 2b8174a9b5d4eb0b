package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// maxGap bounds how long a dead relay may interrupt a flow, on a machine that does much else. Where it
// does nothing else, it is two to three seconds.
const maxGap = 30 * time.Second

// startRelay starts a discovery server with a relay on a machine.
func startRelay(machine *harness.Machine) *harness.Process {
	server := machine.CLI.Start("discovery", "serve", "--listen", ":"+harness.DiscoveryPort, "--insecure", "--store", "memory", "--relay", ":51821", "--state-dir", machine.Dir)
	server.AwaitOutput("serving discovery")
	return server
}

// TestRelayDies has two discovery servers with relays, one of which is killed.
func TestRelayDies(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the relay that connects two machines is killed, and they go on by another within seconds")
	relayDies(t, false)
}

// TestRelayOverTCPDies is TestRelayDies where one of both machines reaches the relays over TCP.
func TestRelayOverTCPDies(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the relay that a machine reaches over TCP is killed, and it goes on by another within seconds")
	relayDies(t, true)
}

func relayDies(t *testing.T, overTCP bool) {
	m := harness.NewMesh(t, 0)
	servers := []*harness.Machine{m.Discovery, m.Add("second")}
	m.Config = strings.Replace(m.Config, `endpoint: "`+m.Endpoint()+`"`, `endpoints: ["`+m.Endpoint()+`", "`+harness.URL(servers[1])+`"]`, 1)
	processes := []*harness.Process{startRelay(servers[0]), startRelay(servers[1])}
	one, two := m.AddBehindNAT(lab.Symmetric, "one"), m.AddBehindNAT(lab.Symmetric, "two")
	if overTCP {
		m.RouterOf(one).Exec.Nodecmd("block", "udp", "51821", "in")
	}
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	by := func(server *harness.Machine) func(map[string]any) bool {
		return func(spec map[string]any) bool {
			return harness.IsUp(spec) && spec["blindRelay"] == server.Address.String()
		}
	}
	blind := func(spec map[string]any) bool { return harness.IsUp(spec) && spec["blindRelay"] != nil }
	one.API.AwaitPeer("two", blind)
	two.API.AwaitPeer("one", blind)
	for _, machine := range m.Machines {
		awaitRegistered(machine, len(m.Machines)-1, len(servers))
	}
	m.AwaitNoDiff()
	one.Packets.Ping(two.API.MeshAddress())

	used := 0
	if strings.Contains(one.CLI.Run("get", "peers"), servers[1].Address.String()) {
		used = 1
	}
	t.Run("killed", func(t *testing.T) { killWhilePinging(t, one, two, processes[used], by(servers[1-used])) })
	t.Run("it comes back, and the other is killed", func(t *testing.T) {
		startRelay(servers[used])
		killWhilePinging(t, one, two, processes[1-used], by(servers[used]))
	})
	m.AwaitUp()
	m.AwaitNoDiff()
}

// awaitRegistered waits until a machine knows that some others are registered with some relays each.
func awaitRegistered(machine *harness.Machine, others, relays int) {
	machine.API.Await("affiliates", func(specs harness.Specs) bool {
		n := 0
		for _, spec := range specs {
			kubespan, _ := spec["kubespan"].(map[string]any)
			if registered, _ := kubespan["registered"].([]any); len(registered) == relays {
				n++
			}
		}
		return n == others
	})
}

// killWhilePinging kills a relay and waits until two machines use the other.
func killWhilePinging(t *testing.T, one, two *harness.Machine, relay *harness.Process, byOther func(map[string]any) bool) {
	t.Helper()
	there, back := one.Packets.KeepPinging(two.API.MeshAddress()), two.Packets.KeepPinging(one.API.MeshAddress())
	relay.Kill()
	began := time.Now()
	one.API.AwaitPeer("two", byOther)
	two.API.AwaitPeer("one", byOther)
	t.Logf("both use the other relay %v after the kill", time.Since(began).Round(time.Millisecond))
	one.Packets.Ping(two.API.MeshAddress())
	two.Packets.Ping(one.API.MeshAddress())
	for name, pinging := range map[string]*harness.Pinging{"one to two": there, "two to one": back} {
		pings := pinging.Stop()
		t.Logf("%s: %d of %d pings lost, the longest gap is %v", name, pings.Lost(), pings.Sent, pings.Gap)
		if pings.Gap > maxGap {
			t.Errorf("%s: nothing came for %v", name, pings.Gap)
		}
	}
}

// TestRelayIsKilledAndStarted has the only relay lose what it knew.
func TestRelayIsKilledAndStarted(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the only relay is killed and started again, and the machines behind it go on within seconds")
	m := harness.NewMesh(t, 0)
	server := startRelay(m.Discovery)
	one, two := m.AddBehindNAT(lab.Symmetric, "one"), m.AddBehindNAT(lab.Symmetric, "two")
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	blind := func(spec map[string]any) bool { return harness.IsUp(spec) && spec["blindRelay"] != nil }
	one.API.AwaitPeer("two", blind)
	two.API.AwaitPeer("one", blind)
	for _, c := range []struct {
		name     string
		from, to *harness.Machine
		end      func(*harness.Process)
	}{
		{"killed, one sends", one, two, (*harness.Process).Kill},
		{"killed, two sends", two, one, (*harness.Process).Kill},
		{"ended, one sends", one, two, (*harness.Process).Terminate},
	} {
		t.Run(c.name, func(t *testing.T) {
			pinging := c.from.Packets.KeepPinging(c.to.API.MeshAddress())
			c.end(server)
			server = startRelay(m.Discovery)
			began := time.Now()
			c.from.Packets.Ping(c.to.API.MeshAddress())
			took, pings := time.Since(began), pinging.Stop()
			t.Logf("%d of %d pings lost, the first after the start came after %v", pings.Lost(), pings.Sent, took)
			if took > maxGap {
				t.Errorf("nothing came for %v", took)
			}
		})
	}
	m.AwaitUp()
	m.AwaitNoDiff()
}
