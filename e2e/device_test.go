package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/trouble"
)

func TestIPv6IsDisabled(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "IPv6 is disabled by sysctl, before the mesh is made and while it runs, and where it cannot be enabled nothing is made")
	m := harness.NewMesh(t, 2)
	node := m.Machines[0]
	trouble.DisableIPv6(t, node)
	m.Start()
	m.AwaitUp()
	node.Packets.Ping(m.Machines[1].API.MeshAddress())

	node.Agent.AwaitAfter(func() { trouble.DisableIPv6(t, node) }, `net.ipv6.conf.kubespan.disable_ipv6`)
	node.CLI.AwaitNoDiff()
	node.Packets.Ping(m.Machines[1].API.MeshAddress())
	m.Machines[1].Packets.Ping(node.API.MeshAddress())

	for name, surroundings := range map[string]struct{ command, cause string }{
		"and its settings are read-only": {"read-only-settings", "net.ipv6.conf.default.disable_ipv6 is 1"},
		"and the kernel has none":        {"hide-ipv6", "this kernel runs without IPv6"},
	} {
		t.Run(name, func(t *testing.T) {
			without := m.Add(surroundings.command)
			trouble.DisableIPv6(t, without)
			without.Exec.Nodecmd(surroundings.command)
			before := without.Net.Inventory()
			o := without.CLI.Try("apply", "-f", without.Files.Write("m.cue", m.Config), "--immediate")
			o.WantStatus(t, 1).WantStderr(t, "IPv6Disabled", surroundings.cause).WantNoStderr(t, "run as root")
			if after := without.Net.Inventory(); after != before {
				t.Errorf("the network is\n%s\nwant\n%s", after, before)
			}
		})
	}
	// The settings change under a mesh that is up, and the agent cannot change them back.
	node.Agent.Terminate()
	node.Exec.Nodecmd("read-only-settings")
	node.Agent.Start()
	node.Agent.AwaitAfter(func() { node.Exec.Nodecmd("disable-ipv6") }, "IPv6Disabled")
}

func TestWireguardProcessHangs(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the WireGuard process is stopped, or its control socket lost: it is named and restarted, and no command and no stop of the agent hangs")
	if harness.InGuest() {
		t.Skip("the kernel's WireGuard has no process")
	}
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	pid := strings.TrimSpace(node.Exec.Nodecmd("signal-wireguard", "SIGSTOP"))
	node.CLI.Try("diff").WantStatus(t, 2).WantStderr(t, "WireGuardUnresponsive", "the WireGuard process "+pid+" of link kubespan does not answer", "it is stopped", "since 2")
	node.Agent.AwaitOutput("WireGuard process ended")
	m.AwaitUp()
	node.Packets.Ping(other.API.MeshAddress())
	m.AwaitNoDiff()
	harness.WantText(t, "the events", node.CLI.Run("get", "events"), "WireGuardRestarted", "WireGuardUnresponsive")
	node.API.AwaitNoCondition("WireGuardUnresponsive")

	t.Run("its control socket is moved away", func(t *testing.T) {
		away := func() {
			node.Exec.Run("mv", "/var/run/wireguard/kubespan.sock", "/var/run/wireguard/kubespan.away")
		}
		const made = `change="+ link kubespan`
		node.Agent.AwaitAfter(away, made)
		m.AwaitUp()
		node.Agent.Terminate()
		away()
		node.Agent.Start()
		node.Agent.AwaitOutput(made)
		m.AwaitUp()
		node.Packets.Ping(other.API.MeshAddress())
		harness.WantNoText(t, "the conditions", node.CLI.Run("get", "conditions"), "LinkNameTaken", "PassFailing")
		node.API.AwaitNoCondition("WireGuardUnresponsive")
		m.AwaitNoDiff()
	})

	// The agent is stopped while it waits for the process.
	pid = strings.TrimSpace(node.Exec.Nodecmd("signal-wireguard", "SIGSTOP"))
	watch := node.CLI.Start("get", "members", "--watch")
	reload := node.CLI.Start("reload")
	node.Agent.Terminate()
	node.Agent.AwaitOutput("agent stopped")
	for _, call := range []*harness.Process{watch, reload} {
		_ = call.Wait(harness.Context(t))
	}
	node.CLI.Try("diff").WantStatus(t, 2).WantStderr(t, "WireGuardUnresponsive", "`kill -KILL "+pid+"`")
	node.CLI.Try("reset-identity", "--yes").WantStatus(t, 1).WantStderr(t, "WireGuardUnresponsive")
	node.CLI.Try("down").WantStatus(t, 0)
	if node.Net.HasLink() || node.Exec.Nodecmd("processes") != "" {
		t.Errorf("down left the link, or %s", node.Exec.Nodecmd("processes"))
	}
}

func TestSecondAgentOnALink(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a second agent with a state directory of its own is refused")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	elsewhere := []string{"--state-dir", filepath.Join(node.Dir, "other"), "--socket", filepath.Join(node.Dir, "other.sock")}
	says := "with state directory " + node.StateDir()
	m.WhilePinging(func() {
		node.CLI.Try(append([]string{"run"}, elsewhere...)...).WantStatus(t, 1).WantStderr(t, "link kubespan belongs to another spanctl, process ", says)
		config := node.Files.Write("m.cue", m.Config)
		node.CLI.Try(append([]string{"apply", "--immediate", "-f", config}, elsewhere...)...).WantStatus(t, 1).WantStderr(t, "SecondAgent", says)
		node.CLI.Try(append([]string{"down"}, elsewhere...)...).WantStatus(t, 1).WantStderr(t, "SecondAgent", says)
	})
	m.AwaitNoDiff()
	// The name is free once the config has another.
	node.Agent.AwaitAfter(func() { node.Files.WriteConfig(harness.Edit(m.Config, `interfaceName: "wg7"`)) }, "+ link wg7")
	node.CLI.AwaitNoDiff()
	moved := node.Files.Write("m.cue", harness.Edit(m.Config, `interfaceName: "wg7"`))
	node.CLI.Try(append([]string{"apply", "--immediate", "-f", moved}, elsewhere...)...).WantStatus(t, 1).WantStderr(t, "link wg7 belongs to another spanctl")
}

func TestLinkIsRenamed(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the mesh's link is renamed, loses its name to another link, or is moved to another network namespace")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	settle := func() {
		t.Helper()
		m.AwaitUp()
		m.AwaitNoDiff()
		node.Packets.Ping(other.API.MeshAddress())
		other.Packets.Ping(node.Address)
	}
	key := node.Exec.Nodecmd("public-key")
	node.Agent.AwaitAfter(func() { node.Exec.Nodecmd("rename-link", "kubespan", "zz0") }, "name zz0 -> kubespan")
	settle()
	if node.Exec.Nodecmd("public-key") != key || strings.Contains(node.Net.Inventory(), "zz0") {
		t.Error("the link is not the same")
	}
	node.Agent.Terminate()
	node.Exec.Nodecmd("rename-link", "kubespan", "zz1")
	node.CLI.Try("diff", "-o", "text").WantStatus(t, 1).WantStdout(t, "~ link kubespan: name zz1 -> kubespan\n")
	node.Exec.Nodecmd("occupy-name", "kubespan")
	node.Agent.Start()
	node.Agent.AwaitOutput("spanctl's own link has the name zz1")
	node.Agent.AwaitAfter(func() { node.Exec.Nodecmd("free-name", "kubespan") }, "name zz1 -> kubespan")
	settle()

	node.Agent.AwaitAfter(func() { node.Exec.StartNodecmd("move-link") }, "+ link kubespan")
	settle()
}

func TestNewsDuringAFight(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "another program deletes the nftables table again and again while a machine joins")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	fight := node.Exec.StartNodecmd("delete-tables")
	node.Agent.AwaitOutput("retry_in=8s")
	conditions := node.CLI.Run("get", "conditions")
	// Where a look takes longer than the table lasts, it is gone again right after it was made.
	if !strings.Contains(conditions, "RepeatedRepairs") && !strings.Contains(conditions, "PlanNotConverging") {
		t.Errorf("the fight is no condition:\n%s", conditions)
	}
	late := m.Join(m.Add("late"))
	late.Agent.Start()
	node.API.AwaitPeer(late.Name, harness.IsUp)
	fight.Terminate()
	m.AwaitUp()
	m.AwaitNoDiff()
	node.Packets.Ping(late.Address)
}

func TestSettingsOfTheDeviceAreMended(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "wg(8) changes the mark, port, key and allowed IPs of the device, and they are mended")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	for setting, line := range map[string]string{
		"fwmark": "firewallMark 0x0 -> ", "listen-port": "listenPort 51999 -> ", "private-key": "privateKey ", "allowed-ips": ": allowedIPs ",
	} {
		t.Run(setting, func(t *testing.T) {
			node.Agent.AwaitAfter(func() { node.Exec.Nodecmd("set-device", setting) }, line)
			m.AwaitUp()
			m.AwaitNoDiff()
			node.Packets.Ping(other.API.MeshAddress())
			other.Packets.Ping(node.Address)
		})
	}
}
