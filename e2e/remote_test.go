package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/lab"
)

// requiresSSH skips a test where sshd(8) is not there, or cannot become its own user.
func requiresSSH(t *testing.T) {
	t.Helper()
	if inGuest() {
		t.Skip("the guest has no sshd")
	}
	wantsUsers(t, "sshd becomes a user of its own")
	_, err := os.Stat(sshd)
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatal("sshd is missing: run `make setup`")
	default:
		t.Skip("sshd is missing: install openssh-server")
	}
}

const sshd = "/usr/sbin/sshd"

// keygen makes a key pair without a passphrase.
func keygen(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
}

// serveSSH lets root in with the key, to where spanctl is that of the test.
func (m *machine) serveSSH(publicKey string) *lab.Process {
	m.t.Helper()
	bin := filepath.Join(m.Dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Symlink(m.binary, filepath.Join(bin, "spanctl")); err != nil {
		m.t.Fatal(err)
	}
	hostKey := filepath.Join(m.Dir, "host-key")
	keygen(m.t, hostKey)
	config := m.file("sshd_config", fmt.Sprintf(`ListenAddress %s
HostKey %s
AuthorizedKeysFile %s
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
SetEnv PATH=%s:/usr/bin:/bin SPANCTL_SOCKET=%s SPANCTL_CONFIG=%s SPANCTL_STATE_DIR=%s SPANCTL_WIREGUARD=%s
`, m.Address, hostKey, publicKey, bin, m.Socket(), m.Config(), m.StateDir(), os.Getenv("SPANCTL_WIREGUARD")))
	if o := m.finish(m.Command(withPatience(m.t), "mkdir", "-p", "/run/sshd")); o.status != 0 {
		m.t.Fatal(o.stderr)
	}
	p, err := lab.Start(m.Command(m.t.Context(), sshd, "-D", "-e", "-f", config))
	if err != nil {
		m.t.Fatal(err)
	}
	m.await(p, "Server listening")
	return p
}

// awaitStored waits until the stored config has a text.
func (m *machine) awaitStored(text string) {
	m.t.Helper()
	ctx := withPatience(m.t)
	for !strings.Contains(m.stored(), text) {
		select {
		case <-ctx.Done():
			m.t.Fatalf("the config is\n%s", m.stored())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestOtherMachines has an operator's machine work on others through ssh.
func TestOtherMachines(t *testing.T) {
	requiresSSH(t)
	m := startMesh(t, 2)
	m.awaitUp()
	operator := m.discovery
	key := filepath.Join(operator.Dir, "key")
	keygen(t, key)
	var hosts []string
	for _, machine := range m.machines {
		machine.serveSSH(key + ".pub")
		hosts = append(hosts, "root@"+machine.Address.String())
	}
	config := operator.file("ssh_config", fmt.Sprintf("Host *\n  IdentityFile %s\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  ConnectTimeout 10\n", key))
	try := func(args ...string) outcome {
		t.Helper()
		cmd := operator.Spanctl(withPatience(t), args...)
		cmd.Env = append(cmd.Env, "SPANCTL_SSH=ssh -F "+config)
		return operator.finish(cmd)
	}
	run := func(args ...string) string {
		t.Helper()
		o := try(args...)
		if o.status != 0 {
			t.Fatalf("%v: status %d\n%s%s", args, o.status, o.stdout, o.stderr)
		}
		return o.stdout
	}

	t.Run("tables become one", func(t *testing.T) {
		lines := strings.Split(strings.TrimSpace(run("get", "kubespanpeerstatuses", "-n", strings.Join(hosts, ","))), "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[0], "NODE ") || !strings.HasPrefix(lines[1], hosts[0]+" ") || !strings.HasPrefix(lines[2], hosts[1]+" ") ||
			!strings.Contains(lines[1], "node-2") || !strings.Contains(lines[2], "node-1") {
			t.Errorf("it is\n%s", strings.Join(lines, "\n"))
		}
		if history := run("history", "-n", strings.Join(hosts, ",")); strings.Count(history, "start") != 2 || strings.Count(history, "REVISION") != 1 {
			t.Errorf("the history is\n%s", history)
		}
	})
	t.Run("a file from here is applied there", func(t *testing.T) {
		file := operator.file("new.cue", edit(m.config, "mtu: 1390"))
		if out := run("apply", "-f", file, "--immediate", "--host", "ssh://"+hosts[0]); !strings.Contains(out, "mtu 1420 -> 1390") {
			t.Errorf("it did %s", out)
		}
		if m.machines[0].stored() != edit(m.config, "mtu: 1390") {
			t.Errorf("the config there is\n%s", m.machines[0].stored())
		}
		if o := try("diff", "-f", file, "-n", strings.Join(hosts, ",")); o.status != 1 || strings.Count(o.stdout, "+  mtu 1390") < 1 || !strings.Contains(o.stdout, "NODE "+hosts[1]) {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
	})
	t.Run("patched, edited and rolled back", func(t *testing.T) {
		run("patch", "-p", "machine: network: kubespan: mtu: 1380", "--mode", "immediate", "-n", strings.Join(hosts, ","))
		for _, machine := range m.machines {
			if !strings.Contains(machine.stored(), "1380") {
				t.Errorf("the config of %s is\n%s", machine.Name, machine.stored())
			}
		}
		cmd := operator.Spanctl(withPatience(t), "edit", "--host", hosts[1])
		cmd.Env = append(cmd.Env, "SPANCTL_SSH=ssh -F "+config, "EDITOR=sed -i s/1380/1370/")
		if o := operator.finish(cmd); o.status != 0 || !strings.Contains(o.stdout, "mtu 1380 -> 1370") {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		run("rollback", "--host", hosts[1])
		if !strings.Contains(m.machines[1].stored(), "1380") {
			t.Errorf("the config is\n%s", m.machines[1].stored())
		}
	})
	t.Run("where no agent runs", func(t *testing.T) {
		there := m.machines[1]
		stop(t, there.agent)
		file := operator.file("alone.cue", edit(m.config, "mtu: 1360"))
		if o := try("diff", "-f", file, "--host", hosts[1]); o.status != 1 || !strings.Contains(o.stdout, "+  mtu 1360") {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		if out := run("apply", "-f", file, "--immediate", "--host", hosts[1]); !strings.Contains(out, "mtu 1380 -> 1360") || there.stored() != edit(m.config, "mtu: 1360") {
			t.Errorf("it did %s", out)
		}
		run("patch", "-p", "machine: network: kubespan: mtu: 1350", "--mode", "try", "--timeout", "1h", "--host", hosts[1])
		if o := try("apply", "-f", file, "--host", hosts[1]); o.status != 1 || !strings.Contains(o.stderr, "on trial") {
			t.Errorf("during the trial: status %d\n%s", o.status, o.stderr)
		}
		run("confirm", "--host", hosts[1])
		run("rollback", "--host", hosts[1])
		if history := run("history", "--host", hosts[1]); !strings.Contains(history, "rollback") || !strings.Contains(history, "try") {
			t.Errorf("the history is\n%s", history)
		}
		run("get", "machineconfig", "-o", "yaml", "--host", hosts[1])
		run("down", "--host", hosts[1])
		if o := there.try("diff"); o.status != 1 || !strings.Contains(o.stdout, "+link kubespan") {
			t.Errorf("after down: status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		// A trial that nobody confirms is ended over there, by what began it.
		run("apply", "-f", file, "--immediate", "--host", hosts[1])
		run("patch", "-p", "machine: network: kubespan: mtu: 1340", "--mode", "try", "--timeout", "3s", "--host", hosts[1])
		there.awaitStored("mtu: 1360")
		// The pass that goes back has the state directory until it is over.
		for there.agent = there.start("run"); ; there.agent = there.start("run") {
			if _, err := there.agent.Await(withPatience(t), 0, "the agent starts"); err == nil {
				break
			}
			if !strings.Contains(there.agent.Output(), "another spanctl works") {
				t.Fatal(there.agent.Output())
			}
		}
	})
	t.Run("what cannot be is said", func(t *testing.T) {
		stop(t, m.machines[1].agent)
		o := try("get", "members", "-n", strings.Join(hosts, ","))
		if o.status != 1 || !strings.Contains(o.stdout, hosts[0]) || !strings.Contains(o.stderr, hosts[1]+": ") || !strings.Contains(o.stderr, "no agent is running at "+m.machines[1].Socket()) {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		if o := try("get", "members", "--host", "root@"+operator.Address.String()); o.status != 1 || !strings.Contains(o.stderr, "Connection refused") {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		for host, want := range map[string]string{"http://a": "want ssh://user@machine:port", "-oProxyCommand=x": "want user@machine", "ssh://a:b@c": "has a password in it"} {
			if o := try("get", "members", "--host="+host); o.status != 1 || !strings.Contains(o.stderr, want) {
				t.Errorf("%s: status %d\n%s", host, o.status, o.stderr)
			}
		}
		if o := try("edit", "-n", strings.Join(hosts, ",")); o.status != 1 || !strings.Contains(o.stderr, "one machine at a time") {
			t.Errorf("status %d\n%s", o.status, o.stderr)
		}
		if o := try("gen", "config", "--host", hosts[0]); o.status != 1 || !strings.Contains(o.stderr, "is about this machine") {
			t.Errorf("status %d\n%s", o.status, o.stderr)
		}
	})
}
