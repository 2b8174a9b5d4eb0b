package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/trouble"
)

// TestSettingsThatCannotWork has a machine whose config is valid, and asks for what is not there.
func TestSettingsThatCannotWork(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a filter that lets nothing through, an address of a link's network, a port of metrics that is taken, and configs side by side are named, and no longer once they are mended")
	m := harness.NewMesh(t, 2)
	m.Start()
	m.AwaitUp()
	node := m.Machines[0]
	mend := func(code string) {
		t.Helper()
		node.Files.WriteConfig(m.Config)
		node.API.AwaitNoCondition(code)
	}
	node.Files.WriteConfig(harness.Edit(m.Config, `filters: endpoints: ["!172.20.0.0/24"]`))
	wantCondition(t, node, "FilterPassesNothing", "warning", "filters.endpoints: ", "lets none through", "0.0.0.0/0")
	mend("FilterPassesNothing")

	node.Files.WriteConfig(harness.Edit(m.Config, `addresses: ["172.20.0.200/24"]`))
	wantCondition(t, node, "MeshAddressOnLink", "warning", "172.20.0.200/24", "that the link eth0 is attached to")
	mend("MeshAddressOnLink")

	other := node.Exec.StartNodecmd("listen", "9586")
	node.Files.WriteConfig(m.Config + "\nmachine: metrics: listen: \"127.0.0.1:9586\"\n")
	wantCondition(t, node, "MetricsUnavailable", "warning", "127.0.0.1:9586: another program listens there", "ss -ltnp")
	other.Terminate()
	node.API.AwaitNoCondition("MetricsUnavailable")
	node.Files.WriteConfig(m.Config)

	beside := filepath.Join(filepath.Dir(node.Config()), "machine.yaml")
	if err := os.WriteFile(beside, []byte(m.YAML()), 0o600); err != nil {
		t.Fatal(err)
	}
	wantCondition(t, node, "ConfigAmbiguous", "error", "there are several configs in ", "machine.cue and machine.yaml", "move all but one away")
	if err := os.Remove(beside); err != nil {
		t.Fatal(err)
	}
	node.API.AwaitNoCondition("ConfigAmbiguous")
	m.AwaitUp()
	m.AwaitNoDiff()
}

// TestProgramsThatInterfere has other programs change what the mesh is made of.
func TestProgramsThatInterfere(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a rule of another program tests the mesh's mark, and one reverts each change at once: named, until they end")
	m := harness.NewMesh(t, 1)
	m.Start()
	node := m.Machines[0]
	node.API.AwaitIdentity()
	mask := uint32(0xff)
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Table, rule.Mark, rule.Mask = unix.AF_INET, 5000, 77, mask, &mask
	trouble.OnLink(t, node, func(h *netlink.Handle, _ netlink.Link) error { return h.RuleAdd(rule) })
	wantCondition(t, node, "MarkShared", "warning", "ipv4 rule 5000", "shares bits with spanctl's", "fwmark")
	trouble.OnLink(t, node, func(h *netlink.Handle, _ netlink.Link) error { return h.RuleDel(rule) })
	node.API.AwaitNoCondition("MarkShared")

	fight := node.Exec.StartNodecmd("revert-mtu")
	wantCondition(t, node, "PlanNotConverging", "error", "a change was made twice", "mtu 1300", "ip monitor")
	fight.Terminate()
	node.API.AwaitNoCondition("PlanNotConverging")
	node.CLI.AwaitNoDiff()
}

// TestAgentIsStuck has the disk of the state directory stop to answer while a pass writes to it.
func TestAgentIsStuck(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a disk that does not answer stops a pass: the agent is named as stuck, and goes on when the disk is back")
	harness.SkipInGuest(t, "its kernel has no FUSE, which makes such a disk")
	if _, err := os.Stat("/dev/fuse"); err != nil {
		harness.Unavailable(t, "this kernel has no FUSE, which makes such a disk")
	}
	m := harness.NewMesh(t, 2)
	m.Start()
	m.AwaitUp()
	node := m.Machines[0]
	disk := node.Exec.StartNodecmd("hang", node.StateDir())
	reload := node.CLI.Start("reload")
	o := node.CLI.Try("wait", "--for", "condition=AgentStuck", "--timeout", "5m").WantStatus(t, 0)
	t.Log(o.Stdout, o.Stderr)
	node.CLI.Try("status").WantStatus(t, 2).WantStdout(t, "x AgentStuck", "the agent has worked on one pass since then", "\nnode-2  up ")
	node.CLI.Try("status", "--check", "live").WantStatus(t, 1)
	disk.Terminate()
	_ = reload.Wait(harness.Context(t))
	node.API.AwaitNoCondition("AgentStuck")
	m.AwaitUp()
	m.AwaitNoDiff()
}

// TestConfigCannotBeWatched has an agent that may not use inotify, in namespaces of its own.
func TestConfigCannotBeWatched(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the kernel reports no changes of the config: that is named, and they take effect all the same")
	harness.SkipInGuest(t, "its unshare(1) makes no user namespaces")
	m := harness.NewMesh(t, 1)
	node := m.Machines[0]
	node.Agent.StartCommand(node.Command(context.WithoutCancel(t.Context()), "unshare", "--user", "--map-root-user", "--net", "sh", "-c",
		"echo 0 > /proc/sys/user/max_inotify_instances && exec "+node.Binary()+" run"))
	wantCondition(t, node, "ConfigUnwatched", "warning", "the kernel does not report changes of the config file", "fs.inotify.max_user_instances")
	node.Files.WriteConfig(strings.Replace(m.Config, "enabled: true", "enabled: false", 1))
	wantCondition(t, node, "MeshDisabled", "info")
}
