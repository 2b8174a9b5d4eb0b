package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
)

func TestEditIsReloadedWithoutLosingAPacket(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the config is edited, and no packet is lost")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	text := harness.Edit(m.Config, "mtu: 1380 // the provider's tunnel takes 40")
	m.WhilePinging(func() {
		node.Agent.AwaitAfter(func() { node.Files.WriteConfig(text) }, "mtu 1420 -> 1380")
	})
	node.CLI.AwaitNoDiff()
	node.Files.WantConfig(t, text)

	t.Run("also when the file is written in place", func(t *testing.T) {
		node.Agent.AwaitAfter(func() {
			if err := os.WriteFile(node.Config(), []byte(m.Config), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "mtu 1380 -> 1420")
	})
	t.Run("also when the file is a link into another directory", func(t *testing.T) {
		elsewhere := filepath.Join(node.Dir, "elsewhere")
		if err := os.Mkdir(elsewhere, 0o700); err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(elsewhere, "m.cue")
		if err := os.WriteFile(target, []byte(harness.Edit(m.Config, "mtu: 1390")), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(node.Config()); err != nil {
			t.Fatal(err)
		}
		node.Agent.AwaitAfter(func() {
			if err := os.Symlink(target, node.Config()); err != nil {
				t.Fatal(err)
			}
		}, "mtu 1420 -> 1390")
		node.Agent.AwaitAfter(func() {
			if err := os.WriteFile(target, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "mtu 1390 -> 1380")
	})
}

func TestInvalidEditLeavesTheLastGoodConfigInForce(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the config is broken by an edit")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	bad := harness.Edit(m.Config, "mtu: 1000")
	m.WhilePinging(func() {
		// Editors, and the ">" of a shell, leave an empty file for a moment.
		node.Agent.AwaitAfter(func() { node.Files.WriteConfig("") }, "machine.cue:1:1: is empty")
		// What is left of a file that began with the cluster is no config without KubeSpan.
		cut := fmt.Sprintf("cluster: id: %q\ncluster: secret: %q\n", m.Value("id"), m.Value("secret"))
		node.Agent.AwaitAfter(func() { node.Files.WriteConfig(cut) }, "machine.cue:1:1: machine.network.kubespan.enabled: is missing")
		node.Agent.AwaitAfter(func() { node.Files.WriteConfig(bad) }, "machine.cue:5:2: machine.network.kubespan.mtu: 1000: is out of range")
	})
	node.CLI.Try("diff").WantStatus(t, 0).WantStderr(t, "is out of range")
	node.CLI.Try("reload").WantStatus(t, 1).WantStderr(t, "is out of range")
	node.CLI.Try("apply", "-f", node.Config(), "--immediate").WantStatus(t, 1).WantStderr(t, "is out of range")

	t.Run("a second config beside it is a condition", func(t *testing.T) {
		beside := strings.TrimSuffix(node.Config(), ".cue") + ".yaml"
		const named = "machine.cue and machine.yaml; none of them is put in force"
		node.Agent.AwaitAfter(func() {
			if err := os.WriteFile(beside, []byte("machine: {network: {kubespan: {enabled: false}}}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "there are several configs in")
		node.API.Await("conditions", func(specs harness.Specs) bool { return strings.Contains(fmt.Sprint(specs), named) })
		node.CLI.Try("reload").WantStatus(t, 1).WantStderr(t, "there are several configs in")
		node.CLI.Try("apply", "-f", beside, "--immediate").WantStatus(t, 1).WantStderr(t, "there are several configs in")
		node.Agent.AwaitAfter(func() {
			if err := os.Remove(beside); err != nil {
				t.Fatal(err)
			}
		}, "is out of range")
		node.API.Await("conditions", func(specs harness.Specs) bool { return !strings.Contains(fmt.Sprint(specs), named) })
	})
	t.Run("a restart begins with the last good config", func(t *testing.T) {
		node.Agent.Terminate()
		node.Agent.Start()
		node.Agent.AwaitOutput("starting with the last good config")
		node.API.AwaitPeersUp(1)
		node.CLI.AwaitNoDiff()
		m.Machines[1].Packets.Ping(node.API.MeshAddress())
	})
	t.Run("a good edit is in force again", func(t *testing.T) {
		node.Agent.AwaitAfter(func() { node.Files.WriteConfig(harness.Edit(m.Config, "mtu: 1400")) }, "mtu 1420 -> 1400")
		if o := node.CLI.Try("diff"); strings.Contains(o.Stderr, "is out of range") {
			t.Errorf("the fault is still told:\n%s", o.Stderr)
		}
	})
}

func TestApply(t *testing.T) {
	t.Parallel()
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	text := "// kept byte for byte   \n" + harness.Edit(m.Config, "mtu: 1390")
	file := node.Files.Write("new.cue", text)

	t.Run("dry run changes nothing", func(t *testing.T) {
		if out := node.CLI.Run("apply", "-f", file, "--dry-run"); !strings.Contains(out, "mtu 1420 -> 1390") {
			t.Errorf("the plan is:\n%s", out)
		}
		node.Files.WantConfig(t, m.Config)
		node.CLI.AwaitNoDiff()
	})
	t.Run("diff with a file is the same plan", func(t *testing.T) {
		node.CLI.Try("diff", "-f", file).WantStatus(t, 1).WantStdout(t, "\n link kubespan\n-  mtu 1420\n+  mtu 1390\n")
		node.CLI.Try("diff", "-f", file, "-o", "json").WantStatus(t, 1).WantStdout(t, `"to": "1390"`)
	})
	t.Run("without --immediate it waits", func(t *testing.T) {
		var o harness.Outcome
		node.Agent.AwaitAfter(func() { o = node.CLI.Try("apply", "-f", file) }, "config staged for the next start")
		o.WantStatus(t, 0).WantStderr(t, "not in force yet")
		node.Files.WantConfig(t, text)
		node.CLI.AwaitNoDiff()
		if out := node.CLI.Run("reload"); !strings.Contains(out, "mtu 1420 -> 1390") {
			t.Errorf("reload did:\n%s", out)
		}
	})
	t.Run("--immediate prints what was done", func(t *testing.T) {
		back := node.Files.Write("back.cue", m.Config)
		if out := node.CLI.Run("apply", "-f", back, "--immediate"); !strings.Contains(out, "mtu 1390 -> 1420") {
			t.Errorf("apply printed:\n%s", out)
		}
	})
	t.Run("YAML is stored as YAML", func(t *testing.T) {
		yaml := node.Files.Write("new.yaml", "# as talosctl users have it\n"+m.YAML())
		if out := node.CLI.Run("apply", "-f", yaml, "--immediate"); out != "no changes\n" {
			t.Errorf("the same config in YAML changed:\n%s", out)
		}
		stored := strings.TrimSuffix(node.Config(), ".cue") + ".yaml"
		now, err := os.ReadFile(stored)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(now), "# as talosctl") {
			t.Errorf("the stored config is\n%s", now)
		}
		if _, err := os.Stat(node.Config()); err == nil {
			t.Error("the config in CUE is still there")
		}
		// The agent waits for the whole file. The first piece alone is a valid config, with
		// the default discovery service.
		edited := strings.Replace(m.YAML(), "enabled: true", "enabled: true\n            mtu: 1400", 1)
		cut := strings.Index(edited, "        registries:")
		file, err := os.OpenFile(stored, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		write := func(piece string) {
			if _, err := file.WriteString(piece); err != nil {
				t.Fatal(err)
			}
		}
		from := len(node.Agent.Output())
		write(edited[:cut])
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := node.Agent.Await(soon, from, "config file changed"); err == nil {
			t.Error("the agent did not wait for the rest of the file")
		}
		node.Agent.AwaitAfter(func() {
			write(edited[cut:])
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
		}, "mtu 1420 -> 1400")
	})
}

// TestSecondApplyWritesNothing watches the kernel's notifications while a config is applied
// that is in force already.
func TestSecondApplyWritesNothing(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a second apply writes nothing to the kernel")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	node := m.Machines[0]
	node.CLI.AwaitNoDiff()
	monitor := node.Exec.StartNodecmd("monitor")
	for range 2 {
		if out := node.CLI.Run("apply", "-f", node.Config(), "--immediate"); out != "no changes\n" {
			t.Errorf("with an agent, it changed:\n%s", out)
		}
	}
	node.Agent.Terminate()
	for range 2 {
		if out := node.CLI.Run("apply", "-f", node.Config(), "--immediate"); out != "no changes\n" {
			t.Errorf("without an agent, it changed:\n%s", out)
		}
	}
	monitor.Terminate()
	if out := monitor.Output(); out != nodecmd.Ready {
		t.Errorf("the kernel reports changes:\n%s", out)
	}

	t.Run("the monitor reports a change", func(t *testing.T) {
		monitor := node.Exec.StartNodecmd("monitor")
		node.CLI.Run("apply", "-f", node.Files.Write("other.cue", harness.Edit(m.Config, "mtu: 1400")), "--immediate")
		monitor.AwaitOutput("netlink 0: message")
		monitor.AwaitOutput("netlink 12: message")
	})
}
