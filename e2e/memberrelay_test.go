package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// relayMesh is a mesh of two machines behind symmetric NATs, and a member with a public address.
type relayMesh struct {
	*harness.Mesh
	hub, one, two *harness.Machine
}

// startMemberRelay starts the mesh: the hub offers a relay, and the discovery server has none.
func startMemberRelay(t *testing.T, hubSetting, setting string) *relayMesh {
	t.Helper()
	m := &relayMesh{Mesh: harness.NewMesh(t, 1)}
	m.hub = m.Machines[0]
	shared := m.Config
	m.hub.Files.WriteConfig(harness.Edit(shared, hubSetting))
	if setting != "" {
		m.Config = harness.Edit(shared, setting)
	}
	m.one, m.two = m.AddBehindNAT(lab.Symmetric, "one"), m.AddBehindNAT(lab.Symmetric, "two")
	m.Start()
	m.awaitBlind()
	return m
}

// awaitBlind waits until the two ends reach each other by the hub's relay.
func (m *relayMesh) awaitBlind() {
	blind := func(spec map[string]any) bool {
		return harness.IsUp(spec) && spec["blindRelay"] == m.hub.Name && spec["relay"] == nil
	}
	m.one.API.AwaitPeer("two", blind)
	m.two.API.AwaitPeer("one", blind)
}

var relayStarted = regexp.MustCompile(`"?relay started"? .*process=(\d+)`)

// relayPID returns the process of the relay that the agent of a machine has started last.
func relayPID(t *testing.T, machine *harness.Machine) int {
	t.Helper()
	machine.Agent.AwaitOutput("relay started")
	all := relayStarted.FindAllStringSubmatch(machine.Agent.Output(), -1)
	if len(all) == 0 {
		t.Fatalf("no relay in %s", machine.Agent.Output())
	}
	pid, err := strconv.Atoi(all[len(all)-1][1])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// runs reports whether a process has not ended.
func runs(t *testing.T, pid int) bool {
	t.Helper()
	return !endsWithin(t, pid, 0)
}

// endsWithin waits for a process to end, which is no child of the test's, and reports whether it has.
func endsWithin(t *testing.T, pid int, limit time.Duration) bool {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(limit.Milliseconds()))
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// TestMemberRelay has two machines that no endpoint reaches, and a member that is a relay.
func TestMemberRelay(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "two machines behind symmetric NATs reach each other by a member's blind relay, which outlives its agent and cannot read")
	m := startMemberRelay(t, "relay: offer: true", "")
	pid := relayPID(t, m.hub)
	m.one.Packets.Ping(m.two.API.MeshAddress())
	m.two.Packets.Ping(m.one.API.MeshAddress())
	harness.WantText(t, "the peers", m.one.CLI.Run("get", "peers"), "blind relay "+m.hub.Name)
	m.AwaitUp()
	m.AwaitNoDiff()
	var is struct{ Version string }
	if err := json.Unmarshal([]byte(m.one.CLI.Try("status", "-o", "json").Stdout), &is); err != nil {
		t.Fatal(err)
	}
	upgraded, _ := anotherVersion(t, m.hub.Binary(), is.Version)

	t.Run("nothing is in clear at the relay", func(t *testing.T) {
		count, kinds := m.hub.Packets.Clear(func() {
			canaries := m.one.Packets.SendCanaries(m.two.API.MeshAddress())
			echoes := m.two.Packets.SendCanaries(m.one.API.MeshAddress())
			m.one.Packets.PingMany(m.two.API.MeshAddress(), 50)
			canaries.Terminate()
			echoes.Terminate()
		})
		if count > 0 {
			t.Errorf("%d packets in clear: %s", count, kinds)
		}
		harness.WantText(t, "the metrics of the member", m.hub.CLI.Run("metrics"), "spanctl_relay_machines{state=\"registered\"} 2")
	})
	t.Run("the agent of the relay starts again, and is upgraded", func(t *testing.T) {
		pinging := m.one.Packets.KeepPinging(m.two.API.MeshAddress())
		m.hub.Agent.Terminate()
		m.hub.Agent.Start()
		m.hub.API.AwaitPeersUp(2)
		m.hub.Agent.Kill()
		m.hub.Agent.StartCommand(m.hub.Command(context.WithoutCancel(t.Context()), upgraded, "run"))
		m.hub.API.AwaitPeersUp(2)
		m.two.Packets.PingMany(m.one.API.MeshAddress(), 100)
		harness.WantAnswers(t, pinging.Stop())
		if strings.Contains(m.hub.Agent.Output(), "relay started") || !runs(t, pid) {
			t.Errorf("process %d was replaced: %s", pid, m.hub.Agent.Output())
		}
	})
	t.Run("the agents of both ends start again", func(t *testing.T) {
		pinging := m.one.Packets.KeepPinging(m.two.API.MeshAddress())
		for _, machine := range []*harness.Machine{m.one, m.two} {
			machine.Agent.Terminate()
			machine.Agent.Start()
			machine.API.AwaitPeersUp(2)
		}
		m.awaitBlind()
		m.two.Packets.PingMany(m.one.API.MeshAddress(), 100)
		harness.WantAnswers(t, pinging.Stop())
	})
	t.Run("the relay is killed", func(t *testing.T) {
		m.one.Packets.Ping(m.two.API.MeshAddress())
		m.hub.Agent.AwaitAfter(func() {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}, "relay started")
		begun := time.Now()
		m.one.Packets.Ping(m.two.API.MeshAddress())
		t.Logf("a ping was answered %v after the relay had started again", time.Since(begun))
		m.awaitBlind()
		m.one.Packets.PingMany(m.two.API.MeshAddress(), 20)
	})
	t.Run("the offer is withdrawn, and the mesh taken down", func(t *testing.T) {
		m.withdraw(t, relayPID(t, m.hub))
		m.hub.Agent.AwaitAfter(func() { m.hub.Files.WriteConfig(harness.Edit(m.Config, "relay: {offer: true, port: 4000}")) }, "relay started")
		m.awaitBlind()
		pid := relayPID(t, m.hub)
		m.moveToTakenPort(t, pid)
		pid = relayPID(t, m.hub)
		m.hub.CLI.Run("down")
		if runs(t, pid) {
			t.Errorf("process %d goes on", pid)
		}
	})
	t.Run("the mesh is taken down without an agent, after its config is lost", func(t *testing.T) {
		m.hub.Agent.AwaitAfter(func() { m.hub.CLI.Run("apply", "-f", m.hub.Config(), "--immediate") }, "relay started")
		pid := relayPID(t, m.hub)
		m.hub.Agent.Terminate()
		if !runs(t, pid) {
			t.Errorf("process %d has ended with the agent", pid)
		}
		for _, path := range []string{m.hub.Config(), filepath.Join(m.hub.StateDir(), "history")} {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
		m.hub.CLI.Try("down").WantStatus(t, 0)
		if runs(t, pid) {
			t.Errorf("process %d goes on", pid)
		}
	})
}

// withdraw takes the offer back, and looks for the process and the port.
func (m *relayMesh) withdraw(t *testing.T, pid int) {
	t.Helper()
	m.hub.Agent.AwaitAfter(func() { m.hub.Files.WriteConfig(m.Config) }, "relay ended")
	if runs(t, pid) {
		t.Errorf("process %d still runs", pid)
	}
	blocker := m.hub.Exec.StartNodecmd("listen", "51821")
	m.hub.Files.WriteConfig(harness.Edit(m.Config, "relay: offer: true"))
	awaitShown(m.hub, "RelayNotServing", "UDP port 51821 of the relay", "is taken", "relay.port")
	m.hub.CLI.Try("status").WantStatus(t, 1).WantStdout(t, "RelayNotServing")
	blocker.Kill()
	awaitNotShown(m.hub, "RelayNotServing")
	m.hub.Agent.AwaitAfter(func() { m.hub.Files.WriteConfig(m.Config) }, "relay ended")
	gone := func(spec map[string]any) bool { return !harness.IsUp(spec) && spec["blindRelay"] == nil }
	m.one.API.AwaitPeer("two", gone)
	m.two.API.AwaitPeer("one", gone)
}

// moveToTakenPort changes the port of the relay, which is at 4000, to one that another program has.
func (m *relayMesh) moveToTakenPort(t *testing.T, pid int) {
	t.Helper()
	blocker := m.hub.Exec.StartNodecmd("listen", "4001")
	m.hub.Files.WriteConfig(harness.Edit(m.Config, "relay: {offer: true, port: 4001}"))
	awaitShown(m.hub, "RelayNotServing", "UDP port 4001 of the relay", "is taken; the relay still runs at UDP 4000")
	m.hub.CLI.Try("status").WantStatus(t, 1).WantStdout(t, "a relay, UDP 4000, ")
	harness.WantText(t, "doctor of the relay", m.hub.CLI.Try("doctor").Stdout, "warn relay the UDP port 4001 ", "ok   relay this machine is one for others: UDP 4000, ")
	if !runs(t, pid) {
		t.Errorf("process %d has ended", pid)
	}
	m.hub.Agent.AwaitAfter(blocker.Kill, "relay started")
	awaitNotShown(m.hub, "RelayNotServing")
	m.awaitBlind()
}

// TestRelayOfEarlierConfig has configs as they were written before there were blind relays.
func TestRelayOfEarlierConfig(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "configs that are spelled as before there were blind relays: packets go through the member blindly, and are forwarded where its relay is not reached")
	m := startMemberRelay(t, "relay: {offer: true, use: true}", "relay: {offer: true, use: true}")
	m.one.Packets.Ping(m.two.API.MeshAddress())
	m.AwaitUp()
	m.AwaitNoDiff()
	m.hub.API.AwaitNoCondition("RelayNotForwarding")
	harness.WantText(t, "the log of an end", m.one.Agent.Output(), "relay.use is true, which also turns on relay.forwarding.use")

	t.Run("a firewall lets WireGuard alone in", func(t *testing.T) {
		for _, setting := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := m.hub.Write("/proc/sys/net/"+setting, "1"); err != nil {
				t.Fatal(err)
			}
		}
		m.hub.Exec.Nodecmd("block", "udp", "51821", "in")
		forwarded := func(spec map[string]any) bool { return harness.IsUp(spec) && spec["relay"] == m.hub.Name }
		m.one.API.AwaitPeer("two", forwarded)
		m.two.API.AwaitPeer("one", forwarded)
		m.one.Packets.Ping(m.two.API.MeshAddress())
	})
}
