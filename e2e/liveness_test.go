package e2e_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/trouble"
)

// TestDeadMachine has one of three machines lose its power. One of the others pings it, the
// other has nothing to send to it. `make bench-mesh` has how long that takes.
func TestDeadMachine(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a machine loses its power: the others notice, and no packet between them is lost")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	node, other, dead := m.Machines[0], m.Machines[1], m.Machines[2]
	for _, machine := range []*harness.Machine{node, other} {
		machine.API.AwaitPeer(dead.Name, hasRTT)
	}
	pinging := node.Packets.KeepPinging(dead.API.MeshAddress())
	m.WhilePinging(func() {
		trouble.CutPower(dead)
		node.API.AwaitPeer(dead.Name, harness.IsDown)
		other.API.AwaitPeer(dead.Name, harness.IsDown)
	})
	pinging.Stop()
	for _, pair := range [][2]*harness.Machine{{node, other}, {other, node}} {
		pair[0].API.AwaitPeer(pair[1].Name, harness.IsUp)
	}
	node.CLI.AwaitNoDiff()
	other.CLI.AwaitNoDiff()
}

// hasRTT reports whether the peer has answered an echo.
func hasRTT(spec map[string]any) bool {
	return harness.IsUp(spec) && spec["rtt"] != nil && spec["smoothedRTT"] != nil
}

// restTime is long enough for several probes of each peer at rest.
const restTime = 40 * time.Second

// TestFirewallDropsEchoes has a mesh at rest on a path that loses packets, and a machine that
// answers no echo. Nobody may be taken for dead, until one is.
func TestFirewallDropsEchoes(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "at rest no peer goes down: not on a lossy path, and not behind a firewall that drops echoes")
	m := harness.NewMesh(t, 3)
	node, mute := m.Machines[0], m.Machines[2]
	mute.Exec.Nodecmd("drop-echoes")
	m.Start()
	m.AwaitUp()
	node.API.AwaitPeer(m.Machines[1].Name, hasRTT)
	for _, machine := range m.Machines {
		machine.Exec.Nodecmd("lose", "10")
	}
	from := make([]int, len(m.Machines))
	for i, machine := range m.Machines {
		from[i] = len(machine.Agent.Output())
	}
	<-time.After(restTime)
	for i, machine := range m.Machines {
		harness.WantNoText(t, machine.Name, machine.Agent.Output()[from[i]:], `"peer down"`)
	}
	node.API.AwaitPeer(mute.Name, func(spec map[string]any) bool { return harness.IsUp(spec) && !hasRTT(spec) })
	trouble.CutPower(mute)
	node.API.AwaitPeer(mute.Name, harness.IsDown)
}

// TestPeerFlaps has a machine lose its network as often as nobody should.
func TestPeerFlaps(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a peer goes down again and again: that is named")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	node.API.AwaitPeer(other.Name, hasRTT)
	pinging := node.Packets.KeepPinging(other.API.MeshAddress())
	for range 5 {
		other.Net.SetLink(false)
		node.API.AwaitPeer(other.Name, harness.IsDown)
		other.Net.SetLink(true)
		node.API.AwaitPeer(other.Name, harness.IsUp)
	}
	pinging.Stop()
	wantCondition(t, node, "PeerFlapping", "warning", other.Name+": went down 5 times since ", "check the network between "+other.Name)
	m.AwaitNoDiff()
}

// flowTime is how long data flows. Probes that came in spite of it would be dozens.
const flowTime = 25 * time.Second

func TestProbesWhileDataFlows(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the round-trip time of peers is shown, and no probes are sent while data flows")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	for i, machine := range m.Machines {
		machine.API.AwaitPeer(m.Machines[1-i].Name, hasRTT)
		table := machine.CLI.Run("get", "kubespanpeerstatuses")
		if row := strings.Fields(lastLine(table)); !strings.HasSuffix(row[len(row)-1], "s") {
			t.Errorf("the table has no round-trip time:\n%s", table)
		}
	}
	counter := m.Machines[0].Exec.StartNodecmd("count-echoes")
	m.WhilePinging(func() { <-time.After(flowTime) })
	counter.Terminate()
	// One echo in 30 seconds measures the round-trip time.
	sent, err := strconv.Atoi(lastLine(counter.Output()))
	if err != nil || sent > 3 {
		t.Errorf("%d echoes were sent while data flowed: %v", sent, err)
	}
	m.AwaitNoDiff()
}

// lastLine returns the last line of a text.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
