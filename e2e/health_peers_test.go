package e2e_test

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/internal/trouble"
)

// awaitShown waits until a machine shows a condition whose cause and remedy have texts. ID is
// its code, or CODE/SUBJECT.
func awaitShown(machine *harness.Machine, id string, texts ...string) {
	machine.API.Await("conditions", func(specs harness.Specs) bool {
		spec, shown := specs[id]
		if !shown {
			return false
		}
		text := spec["cause"].(string) + ": " + spec["remedy"].(string)
		for _, want := range texts {
			if !strings.Contains(text, want) {
				return false
			}
		}
		return true
	})
}

// awaitNotShown waits until a machine does not show conditions.
func awaitNotShown(machine *harness.Machine, ids ...string) {
	machine.API.Await("conditions", func(specs harness.Specs) bool {
		for _, id := range ids {
			if specs[id] != nil {
				return false
			}
		}
		return true
	})
}

// TestPeersThatDoNotAnswer has a machine whose firewall takes no UDP, and two that do not reach
// each other.
func TestPeersThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "UDP is blocked at a machine, and between two: each is told where, and what the others hear of it")
	m := harness.NewMesh(t, 3)
	blocked, second, third := m.Machines[0], m.Machines[1], m.Machines[2]
	trouble.BlockUDP(blocked, "in")
	trouble.BlockUDP(second, "in", third)
	trouble.BlockUDP(third, "in", second)
	m.Start()
	unreachable := "PeerUnreachable/" + third.Name
	awaitShown(blocked, "UDPBlocked", " handshakes sent to 2 peers, nothing came", "open UDP 51820 here")
	awaitNotShown(blocked, "PeerUnreachable/"+second.Name, unreachable)
	awaitShown(second, "OneWayTraffic/"+blocked.Name, blocked.Name+" calls", "let the firewall of "+blocked.Name)
	awaitShown(third, "OneWayTraffic/"+blocked.Name)
	awaitShown(second, unreachable, " handshakes sent to 1 endpoint of "+third.Name, third.Address.String()+":51820", "nothing came: open UDP 51820 at "+third.Name+", or here")

	trouble.PassUDP(blocked)
	awaitNotShown(blocked, "UDPBlocked")
	awaitShown(second, unreachable, "nothing came; others answer: open UDP 51820 at "+third.Name)
	awaitNotShown(second, "OneWayTraffic/"+blocked.Name)
	awaitNotShown(third, "OneWayTraffic/"+blocked.Name)

	trouble.PassUDP(second)
	trouble.PassUDP(third)
	m.AwaitUp()
	awaitNotShown(second, unreachable)
	awaitNotShown(third, "PeerUnreachable/"+second.Name)

	t.Run("no peer is up", func(t *testing.T) {
		blocked.CLI.Try("wait", "--for", "ready", "--timeout", "5m").WantStatus(t, 0)
		trouble.BlockUDP(blocked, "in")
		blocked.API.Await("health", func(specs harness.Specs) bool {
			return specs["machine"]["ready"] == false && specs["machine"]["state"] == "healthy" // no condition is shown yet
		})
		blocked.CLI.Try("status", "--check", "ready").WantStatus(t, 1).WantStderr(t, "not ready: ")
		blocked.CLI.Try("wait", "--for", "ready", "--timeout", "1s").WantStatus(t, 1)
		harness.WantText(t, "the metrics", blocked.CLI.Run("metrics"), "\nspanctl_ready 0\n")
		awaitShown(blocked, "UDPBlocked", "nothing came since ", "check that "+second.Name+" and "+third.Name+" run")
		trouble.PassUDP(blocked)
		m.AwaitUp()
		blocked.CLI.Try("wait", "--for", "ready", "--timeout", "5m").WantStatus(t, 0)
		awaitNotShown(second, "PeerDown/"+blocked.Name, "OneWayTraffic/"+blocked.Name)
		awaitNotShown(third, "PeerDown/"+blocked.Name, "OneWayTraffic/"+blocked.Name)
	})
	t.Run("nothing leaves a machine that was up", func(t *testing.T) {
		for _, machine := range []*harness.Machine{second, third} {
			blocked.API.AwaitPeer(machine.Name, hasRTT)
		}
		trouble.BlockUDP(blocked, "out")
		awaitShown(blocked, "UDPBlocked", "all 2 peers call", "none hears the answers", "let the firewall here")
		awaitNotShown(blocked, "PeerFlapping/"+second.Name, "PeerFlapping/"+third.Name)
		trouble.PassUDP(blocked)
		m.AwaitUp()
		awaitNotShown(blocked, "UDPBlocked")
	})
	t.Run("the firewall of a machine keeps packets out of the tunnel", func(t *testing.T) {
		blocked.Exec.Nodecmd("drop-into-mesh")
		awaitShown(blocked, "TunnelFiltered", second.Name+" and "+third.Name, "before they enter kubespan", "let its output chains pass")
		blocked.CLI.Try("status").WantStatus(t, 1)
		blocked.Exec.Nodecmd("delete-table", nodecmd.TunnelTable)
		awaitNotShown(blocked, "TunnelFiltered")
		m.AwaitUp()
	})
	t.Run("packets are lost", func(t *testing.T) {
		third.Exec.Nodecmd("lose", "40")
		// One of four ways to and from it meets the loss soon. From there on it takes two minutes.
		isLossy := func(m *harness.Machine, specs harness.Specs) bool {
			for _, spec := range specs {
				shown, _ := spec["loss"].(string)
				loss, err := strconv.ParseFloat(strings.TrimSuffix(shown, "%"), 64)
				if label, _ := spec["label"].(string); err == nil && loss >= 20 && (m == third || label == third.Name) {
					return true
				}
			}
			return false
		}
		harness.AwaitAny(t, m.Machines, "kubespanpeerstatuses", isLossy)
		lossy, subject := "", ""
		observer := harness.AwaitAny(t, m.Machines, "conditions", func(_ *harness.Machine, specs harness.Specs) bool {
			return slices.ContainsFunc(slices.Collect(maps.Keys(specs)), func(id string) bool { return strings.HasPrefix(id, "PacketLoss/") })
		})
		observer.API.Await("conditions", func(specs harness.Specs) bool {
			for id := range specs {
				if name, is := strings.CutPrefix(id, "PacketLoss/"); is {
					lossy, subject = id, name
				}
			}
			return lossy != ""
		})
		awaitShown(observer, lossy, "or more of the echoes to "+subject+" have no answer", "look for loss between")
		third.Exec.Nodecmd("delete-table", "loss")
		awaitNotShown(observer, lossy)
		m.AwaitUp()
	})
	t.Run("a peer that was up is down", func(t *testing.T) {
		trouble.CutPower(third)
		down := "PeerDown/" + third.Name
		awaitShown(blocked, down, "silent since ", "check that "+third.Name+" runs")
		awaitShown(second, down)
		third.Net.SetLink(true)
		third.Agent.Start()
		m.AwaitUp()
		awaitNotShown(blocked, down)
		awaitNotShown(second, down)
	})
	m.AwaitNoDiff()
}

// TestMembersThatAreNone has machines that are in the cluster by half.
func TestMembersThatAreNone(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "another cluster ID, another secret, a hostname twice, and a relay that does not forward are told")
	m := harness.NewMesh(t, 5)
	relay, other, stranger, wrong, twin := m.Machines[0], m.Machines[1], m.Machines[2], m.Machines[3], m.Machines[4]
	trouble.SetForwarding(t, relay, false, false)
	relay.Files.WriteConfig(harness.Edit(m.Config, "relay: forwarding: offer: true"))
	stranger.Files.WriteConfig(trouble.WithOtherID(m.Config))
	wrong.Files.WriteConfig(trouble.WithOtherSecret(m.Config))
	twin.Exec.Nodecmd("set-hostname", other.Name)
	m.Start()
	for _, machine := range m.Machines {
		machine.API.AwaitIdentity()
	}

	there := "SecretDiffersThere/" + wrong.Files.NodeID()
	repeated := "HostnameRepeated/" + other.Name
	awaitShown(relay, "RelayNotForwarding", "IPv6 and IPv4 is off", "sysctl -w net.ipv6.conf.all.forwarding=1")
	awaitShown(stranger, "NoOtherMembers", "nobody else is in cluster ", "gen config")
	awaitShown(wrong, "SecretDiffers", "none of the 3 other machines can be read", "copy cluster.secret")
	awaitShown(other, there, "cannot be read", "correct cluster.secret there")
	awaitShown(relay, repeated, "2 machines have this hostname", other.Files.NodeID(), twin.Files.NodeID())
	relay.API.Await("members", func(specs harness.Specs) bool {
		return specs[other.Name+"/"+other.Files.NodeID()] != nil && specs[other.Name+"/"+twin.Files.NodeID()] != nil
	})
	harness.WantNoText(t, "the conditions of the machine with another secret", wrong.CLI.Run("get", "conditions"), "SecretDiffersThere", "NoOtherMembers")

	trouble.SetForwarding(t, relay, true, true)
	for _, machine := range []*harness.Machine{stranger, wrong} {
		machine.Files.WriteConfig(m.Config)
	}
	twin.Exec.Nodecmd("set-hostname", twin.Name)
	m.AwaitUp()
	awaitNotShown(stranger, "NoOtherMembers")
	awaitNotShown(wrong, "SecretDiffers")
	awaitNotShown(other, there, repeated)
	awaitNotShown(relay, "RelayNotForwarding", there, repeated)
	m.AwaitNoDiff()
}
