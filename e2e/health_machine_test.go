package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// wantCondition awaits the condition of a code, and wants texts in its severity, subject, cause and
// remedy.
func wantCondition(t *testing.T, machine *harness.Machine, code, severity string, wants ...string) {
	t.Helper()
	spec := machine.API.AwaitCondition(code)
	if spec["severity"] != severity {
		t.Errorf("%s is %v, want %s", code, spec["severity"], severity)
	}
	harness.WantText(t, code, fmt.Sprint(spec["subject"], ": ", spec["cause"], ": ", spec["remedy"]), wants...)
}

// TestTroubleOfTheConfigIsNamed goes through the states of a config file on one machine.
func TestTroubleOfTheConfigIsNamed(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a config that is missing, staged, not valid, deleted or on trial is named, and no longer once it is mended")
	m := harness.NewMesh(t, 1)
	m.Serve()
	node := m.Machines[0]
	path := node.Config()
	remove := func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	apply := func(mode, text string) {
		t.Helper()
		node.CLI.Run("apply", "-f", node.Files.Write("m.cue", text), "--mode", mode)
	}
	remove()
	node.Agent.Start()
	wantCondition(t, node, "NoConfig", "error", path+" is missing; none is in force", "spanctl apply -f FILE")

	apply("staged", m.Config)
	wantCondition(t, node, "ConfigStaged", "error", "a config waits in "+path+"; none is in force", "spanctl reload")
	node.API.AwaitNoCondition("NoConfig")
	node.CLI.Run("reload")
	node.API.AwaitNoCondition("ConfigStaged")
	apply("staged", harness.Edit(m.Config, "mtu: 1380"))
	wantCondition(t, node, "ConfigStaged", "warning", "a config waits in "+path, "stays in force")
	node.CLI.Run("reload")
	node.API.AwaitNoCondition("ConfigStaged")

	t.Run("not valid", func(t *testing.T) {
		secret := m.Value("secret")
		node.Files.WriteConfig(strings.Replace(harness.Edit(m.Config, "mtu: 1000"), secret, secret[1:], 1))
		wantCondition(t, node, "ConfigInvalid", "warning", path+":", "(and 1 more)", "stays in force", "spanctl validate -f ")
		harness.WantNoText(t, "the conditions", node.CLI.Run("get", "conditions", "-o", "yaml"), secret[1:])
		node.Files.WriteConfig(harness.Edit(m.Config, "mtu: 1000"))
		wantCondition(t, node, "ConfigInvalid", "warning", path+":5:2: machine.network.kubespan.mtu: 1000: is out of range")
		node.Files.WriteConfig(m.Config)
		node.API.AwaitNoCondition("ConfigInvalid")
	})
	t.Run("deleted", func(t *testing.T) {
		remove()
		wantCondition(t, node, "NoConfig", "warning", path+" is missing; that of ", "stays in force", "spanctl rollback")
		node.Agent.Terminate()
		node.Agent.Start()
		wantCondition(t, node, "NoConfig", "warning", path+" is missing; that of ", "stays in force")
		apply("immediate", m.Config)
		node.API.AwaitNoCondition("NoConfig")
	})
	t.Run("not valid when the agent starts", func(t *testing.T) {
		node.Agent.Terminate()
		node.Files.WriteConfig("")
		node.Agent.Start()
		wantCondition(t, node, "ConfigInvalid", "warning", path+":1:1: is empty", "stays in force")
		node.Files.WriteConfig(m.Config)
		node.API.AwaitNoCondition("ConfigInvalid")
	})
	t.Run("on trial", func(t *testing.T) {
		node.CLI.Run("apply", "-f", node.Files.Write("m.cue", harness.Edit(m.Config, "mtu: 1390")), "--mode", "try", "--timeout", "1h")
		wantCondition(t, node, "ConfigOnTrial", "info", "the one before returns in ", "spanctl confirm")
		node.CLI.Run("confirm")
		node.API.AwaitNoCondition("ConfigOnTrial")
		node.CLI.Run("apply", "-f", node.Files.Write("m.cue", m.Config), "--mode", "try", "--timeout", "1s")
		node.Agent.AwaitOutput("not confirmed")
		node.API.AwaitNoCondition("ConfigOnTrial")
	})
	t.Run("no mesh is asked for, and one is taken down", func(t *testing.T) {
		apply("immediate", harness.Disabled(m.Config))
		wantCondition(t, node, "MeshDisabled", "info", "machine.network.kubespan.enabled is false")
		apply("immediate", m.Config)
		node.API.AwaitNoCondition("MeshDisabled")
		node.CLI.Run("down")
		wantCondition(t, node, "MeshDown", "info", "spanctl reload")
		node.CLI.Run("reload")
		node.API.AwaitNoCondition("MeshDown")
	})
}

// TestTroubleOfTheMachineIsNamed has an agent that never did a pass, and one that lost what it had.
func TestTroubleOfTheMachineIsNamed(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a right, a port, a device, the network, the identity or the disk is missing: named, and no longer once it is mended")
	m := harness.NewMesh(t, 1)
	m.Serve()
	node := m.Machines[0]

	t.Run("the right to configure the network", func(t *testing.T) {
		cmd, err := node.Subcommand(harness.Context(t), "unprivileged", node.Binary(), "run")
		if err != nil {
			t.Fatal(err)
		}
		node.Agent.StartCommand(cmd)
		wantCondition(t, node, "NotPermitted", "error", "CAP_NET_ADMIN is missing, and is kept from this container", "--cap-add NET_ADMIN")
		node.Agent.Terminate()
		node.Agent.Start()
		node.API.AwaitIdentity()
		node.API.AwaitNoCondition("NotPermitted")
	})
	t.Run("the port", func(t *testing.T) {
		node.CLI.Run("down")
		node.Agent.Terminate()
		blocker := node.Exec.StartNodecmd("listen", "51820")
		node.Agent.Start()
		wantCondition(t, node, "PortTaken", "error", "UDP port 51820 is in use by another program: ", fmt.Sprintf("process %d", blocker.PID()), "listenPort")
		blocker.Kill()
		node.API.AwaitNoCondition("PortTaken")
	})
	t.Run("the device of userspace WireGuard", func(t *testing.T) {
		if node.Net.LinkKind() == "wireguard" {
			return // the kernel needs none
		}
		node.CLI.Run("down")
		node.Exec.Nodecmd("cover", "/dev/net", "64")
		node.CLI.Try("reload").WantStatus(t, 1)
		wantCondition(t, node, "PassFailing", "error", "+ link kubespan", "once")
		node.Exec.Nodecmd("uncover", "/dev/net")
		node.API.AwaitNoCondition("PassFailing")
	})
	t.Run("the network", func(t *testing.T) {
		node.Net.SetLink(false)
		wantCondition(t, node, "NetworkDown", "error", "is down")
		node.Net.SetLink(true)
		node.API.AwaitNoCondition("NetworkDown")
	})
	t.Run("the identity", func(t *testing.T) {
		file := filepath.Join(node.StateDir(), "kubespan-identity.yaml")
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, 20); err != nil {
			t.Fatal(err)
		}
		node.CLI.Try("reload").WantStatus(t, 1).WantStderr(t, "IdentityDamaged")
		wantCondition(t, node, "IdentityDamaged", "error", file+": ", "restore it")
		node.Agent.Terminate()
		node.Agent.Start()
		wantCondition(t, node, "IdentityDamaged", "error", file+": ")
		if err := os.WriteFile(file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		node.API.AwaitNoCondition("IdentityDamaged")
	})
	t.Run("the privacy of files", func(t *testing.T) {
		for _, file := range []string{node.Config(), filepath.Join(node.StateDir(), "kubespan-identity.yaml")} {
			if err := os.Chmod(file, 0o644); err != nil {
				t.Fatal(err)
			}
			wantCondition(t, node, "FilesReadable", "warning", file+" has mode 0644", "chmod 600 "+file)
			if err := os.Chmod(file, 0o600); err != nil {
				t.Fatal(err)
			}
			node.API.AwaitNoCondition("FilesReadable")
		}
	})
	t.Run("the disk", func(t *testing.T) {
		node.CLI.Run("down")
		node.Agent.Terminate()
		node.Exec.Nodecmd("cover", node.StateDir(), "512")
		node.Agent.Start()
		node.API.AwaitIdentity()
		node.Exec.Nodecmd("fill", node.StateDir(), "true")
		wantCondition(t, node, "StateUnwritable", "error", node.StateDir()+" cannot be written: no space left on device", "make room")
		node.Exec.Nodecmd("fill", node.StateDir(), "false")
		node.API.AwaitNoCondition("StateUnwritable")
		node.CLI.Run("down")
		node.Agent.Terminate()
		node.Exec.Nodecmd("set-writable", node.StateDir(), "false")
		node.Agent.Start()
		wantCondition(t, node, "StateUnwritable", "error", "read-only file system", "mount its disk writable")
		node.Exec.Nodecmd("set-writable", node.StateDir(), "true")
		node.API.AwaitNoCondition("StateUnwritable")
		node.API.AwaitNoCondition("PassFailing")
	})
}
