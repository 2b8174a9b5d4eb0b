package ssh_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// sshd is the path of sshd(8), which refuses to run under a relative one.
const sshd = "/usr/sbin/sshd"

// requireSSH fails without sshd(8). It skips where sshd cannot become its own user.
func requireSSH(t *testing.T) {
	t.Helper()
	harness.RequireUsers(t, "sshd becomes a user of its own")
	if _, err := os.Stat(sshd); err != nil {
		t.Fatalf("sshd is missing: install openssh-server: %v", err)
	}
}

// keygen makes a key pair without a passphrase.
func keygen(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
}

// serveSSH starts an sshd on a machine. It lets root in with the key, and PATH has the
// spanctl of the test.
func serveSSH(t *testing.T, m *harness.Machine, publicKey string) *harness.Process {
	t.Helper()
	bin := filepath.Join(m.Dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(m.Binary(), filepath.Join(bin, "spanctl")); err != nil {
		t.Fatal(err)
	}
	hostKey := filepath.Join(m.Dir, "host-key")
	keygen(t, hostKey)
	config := m.Files.Write("sshd_config", fmt.Sprintf(`ListenAddress %s
HostKey %s
AuthorizedKeysFile %s
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
SetEnv PATH=%s:/usr/bin:/bin SPANCTL_SOCKET=%s SPANCTL_CONFIG=%s SPANCTL_STATE_DIR=%s SPANCTL_WIREGUARD=%s
`, m.Address, hostKey, publicKey, bin, m.Socket(), m.Config(), m.StateDir(), os.Getenv("SPANCTL_WIREGUARD")))
	m.Exec.Run("mkdir", "-p", "/run/sshd")
	p := harness.StartProcess(t, m.Command(t.Context(), sshd, "-D", "-e", "-f", config))
	p.AwaitOutput("Server listening")
	return p
}

// clientConfig writes what ssh(1) reads on the operator's machine, and returns its path.
func clientConfig(operator *harness.Machine, key string) string {
	return operator.Files.Write("ssh_config", fmt.Sprintf("Host *\n  IdentityFile %s\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  ConnectTimeout 10\n", key))
}

// TestOtherMachines runs commands of an operator's machine on others, through ssh.
func TestOtherMachines(t *testing.T) {
	t.Parallel()
	requireSSH(t)
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	operator := m.Discovery
	key := filepath.Join(operator.Dir, "key")
	keygen(t, key)
	var hosts []string
	for _, machine := range m.Machines {
		serveSSH(t, machine, key+".pub")
		hosts = append(hosts, "root@"+machine.Address.String())
	}
	config := clientConfig(operator, key)
	try := func(args ...string) harness.Outcome {
		t.Helper()
		cmd := operator.Spanctl(harness.Context(t), args...)
		cmd.Env = append(cmd.Env, "SPANCTL_SSH=ssh -F "+config)
		return operator.Exec.Finish(cmd)
	}
	run := func(args ...string) string {
		t.Helper()
		o := try(args...)
		if o.Status != 0 {
			t.Fatalf("%v: status %d\n%s%s", args, o.Status, o.Stdout, o.Stderr)
		}
		return o.Stdout
	}

	t.Run("tables of several machines become one", func(t *testing.T) {
		lines := strings.Split(strings.TrimSpace(run("get", "kubespanpeerstatuses", "-n", strings.Join(hosts, ","))), "\n")
		if len(lines) != 3 {
			t.Fatalf("%d lines, want 3:\n%s", len(lines), strings.Join(lines, "\n"))
		}
		for i, start := range []string{"NODE ", hosts[0] + " ", hosts[1] + " "} {
			if !strings.HasPrefix(lines[i], start) {
				t.Errorf("line %d does not begin with %q: %s", i, start, lines[i])
			}
		}
		harness.WantText(t, "the peers of the first machine", lines[1], "node-2")
		harness.WantText(t, "the peers of the second machine", lines[2], "node-1")
		history := run("history", "-n", strings.Join(hosts, ","))
		for word, want := range map[string]int{"start": 2, "REVISION": 1} {
			if got := strings.Count(history, word); got != want {
				t.Errorf("%q is %d times in the history, want %d:\n%s", word, got, want, history)
			}
		}
	})
	t.Run("lists of several machines become one", func(t *testing.T) {
		var list struct {
			Items []struct {
				Metadata struct{ Node string }
				Spec     struct{ Label string }
			}
		}
		if err := json.Unmarshal([]byte(run("get", "peers", "-o", "json", "-n", strings.Join(hosts, ","))), &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 2 {
			t.Fatalf("the list has %+v", list.Items)
		}
		for i, want := range []string{"node-2", "node-1"} {
			if item := list.Items[i]; item.Metadata.Node != hosts[i] || item.Spec.Label != want {
				t.Errorf("item %d is %+v, want %s of %s", i, item, want, hosts[i])
			}
		}
		rows := run("get", "peers", "--no-headers", "-n", strings.Join(hosts, ","))
		if strings.Count(rows, "\n") != 2 || strings.Contains(rows, "LABEL") {
			t.Errorf("the rows without headings are\n%s", rows)
		}
	})
	t.Run("the status of several machines", func(t *testing.T) {
		out := run("status", "-n", strings.Join(hosts, ","))
		harness.WantText(t, "the status", out, "NODE "+hosts[0]+"\nnode-1     healthy, ", "NODE "+hosts[1]+"\nnode-2     healthy, ")
	})
	t.Run("the page is about the other machines", func(t *testing.T) {
		cmd := operator.Spanctl(t.Context(), "ui", "-n", strings.Join(hosts, ","))
		cmd.Env = append(cmd.Env, "SPANCTL_SSH=ssh -F "+config)
		ui := harness.StartProcess(t, cmd)
		ui.AwaitOutput("opens the page in one browser")
		_, rest, _ := strings.Cut(ui.Output(), "http://")
		address, _, _ := strings.Cut("http://"+rest, "\n")
		origin, _, _ := strings.Cut(address, "?")
		jar := filepath.Join(operator.Dir, "jar")
		operator.Exec.Run("curl", "-sSf", "-c", jar, address)
		stream := harness.StartProcess(t, operator.Command(t.Context(), "curl", "-sSN", "-b", jar, origin+"api/stream"))
		for i, host := range hosts {
			stream.AwaitOutput(`{"machine":"` + host + `","health":{`)
			stream.AwaitOutput(`"hostname":"` + m.Machines[i].Name + `"`)
			harness.WantText(t, "the config of "+host, operator.Exec.Run("curl", "-sSf", "-b", jar, origin+"api/machines/"+url.PathEscape(host)+"/config"), `"path":"`+m.Machines[i].Config()+`"`, "(hidden)")
		}
		ui.Interrupt()
	})
	t.Run("the doctor runs there", func(t *testing.T) {
		try("doctor", "--host", hosts[0]).WantStatus(t, 0).WantStdout(t, "ok   agent answers at "+m.Machines[0].Socket(), "ok   udp 3 of 3")
		if err := os.Chmod(m.Machines[1].Config(), 0o644); err != nil {
			t.Fatal(err)
		}
		try("doctor", "-n", strings.Join(hosts, ",")).WantStatus(t, 1).WantStdout(t, "NODE "+hosts[0], "NODE "+hosts[1], "warn files "+m.Machines[1].Config())
		if err := os.Chmod(m.Machines[1].Config(), 0o600); err != nil {
			t.Fatal(err)
		}
		try("doctor", "--host", "root@192.0.2.1").WantStatus(t, 3)
	})
	t.Run("a local file is applied on the other machine", func(t *testing.T) {
		file := operator.Files.Write("new.cue", harness.Edit(m.Config, "mtu: 1390"))
		harness.WantText(t, "apply", run("apply", "-f", file, "--immediate", "--host", "ssh://"+hosts[0]), "mtu 1420 -> 1390")
		m.Machines[0].Files.WantConfig(t, harness.Edit(m.Config, "mtu: 1390"))
		try("diff", "-f", file, "-n", strings.Join(hosts, ",")).WantStatus(t, 1).WantStdout(t, "+  mtu 1390", "NODE "+hosts[1])
	})
	t.Run("patch, edit and rollback", func(t *testing.T) {
		run("patch", "-p", "machine: network: kubespan: mtu: 1380", "--mode", "immediate", "-n", strings.Join(hosts, ","))
		for _, machine := range m.Machines {
			harness.WantText(t, "the config of "+machine.Name, machine.Files.Config(), "1380")
		}
		cmd := operator.Spanctl(harness.Context(t), "edit", "--host", hosts[1])
		cmd.Env = append(cmd.Env, "SPANCTL_SSH=ssh -F "+config, "EDITOR=sed -i s/1380/1370/")
		operator.Exec.Finish(cmd).WantStatus(t, 0).WantStdout(t, "mtu 1380 -> 1370")
		run("rollback", "--host", hosts[1])
		harness.WantText(t, "the config after the rollback", m.Machines[1].Files.Config(), "1380")
	})
	t.Run("where no agent runs", func(t *testing.T) {
		there := m.Machines[1]
		there.Agent.Terminate()
		try("status", "-n", strings.Join(hosts, ",")).WantStatus(t, 3).WantStdout(t, "NODE "+hosts[0]+"\nnode-1     ").
			WantStderr(t, hosts[1]+": spanctl: NoAgent: nobody answers at "+there.Socket()+"; the link kubespan with 1 peer is left as it is")
		file := operator.Files.Write("alone.cue", harness.Edit(m.Config, "mtu: 1360"))
		try("diff", "-f", file, "--host", hosts[1]).WantStatus(t, 1).WantStdout(t, "+  mtu 1360")
		harness.WantText(t, "apply", run("apply", "-f", file, "--immediate", "--host", hosts[1]), "mtu 1380 -> 1360")
		there.Files.WantConfig(t, harness.Edit(m.Config, "mtu: 1360"))
		run("patch", "-p", "machine: network: kubespan: mtu: 1350", "--mode", "try", "--timeout", "1h", "--host", hosts[1])
		try("apply", "-f", file, "--host", hosts[1]).WantStatus(t, 1).WantStderr(t, "on trial")
		run("confirm", "--host", hosts[1])
		run("rollback", "--host", hosts[1])
		harness.WantText(t, "the history", run("history", "--host", hosts[1]), "rollback", "try")
		run("get", "machineconfig", "-o", "yaml", "--host", hosts[1])
		run("down", "--host", hosts[1])
		there.CLI.Try("diff").WantStatus(t, 1).WantStdout(t, "+link kubespan")
		// The command that started a trial ends it on the other machine when nobody confirms.
		run("apply", "-f", file, "--immediate", "--host", hosts[1])
		run("patch", "-p", "machine: network: kubespan: mtu: 1340", "--mode", "try", "--timeout", "3s", "--host", hosts[1])
		there.Files.AwaitConfig("mtu: 1360")
		// The command holds the state directory until it has rolled back.
		for there.Agent.Process = there.CLI.Start("run"); ; there.Agent.Process = there.CLI.Start("run") {
			if _, err := there.Agent.Await(harness.Context(t), 0, "agent started"); err == nil {
				break
			}
			if !strings.Contains(there.Agent.Output(), "another spanctl works") {
				t.Fatal(there.Agent.Output())
			}
		}
	})
	t.Run("errors name the machine and the cause", func(t *testing.T) {
		m.Machines[1].Agent.Terminate()
		try("get", "members", "-n", strings.Join(hosts, ",")).WantStatus(t, 3).WantStdout(t, hosts[0]).
			WantStderr(t, hosts[1]+": ", "no agent is running at "+m.Machines[1].Socket())
		try("get", "members", "--host", "root@"+operator.Address.String()).WantStatus(t, 1).WantStderr(t, "Connection refused")
		for host, want := range map[string]string{"http://a": "want ssh://user@machine:port", "-oProxyCommand=x": "want user@machine", "ssh://a:b@c": "has a password in it"} {
			try("get", "members", "--host="+host).WantStatus(t, 1).WantStderr(t, want)
		}
		try("edit", "-n", strings.Join(hosts, ",")).WantStatus(t, 1).WantStderr(t, "one machine at a time")
		try("gen", "config", "--host", hosts[0]).WantStatus(t, 1).WantStderr(t, "is about this machine")
	})
}
