package e2e_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"golang.org/x/sys/unix"
)

// statusDocument is what `spanctl status -o json` prints.
type statusDocument struct {
	APIVersion, State, Hostname, Version, Time, Started string
	Ready, Live                                         bool
	Mesh                                                struct {
		Link, Address, Wireguard string
		Port, MTU                int
	}
	Cluster struct {
		Fingerprint string
		Machines    int
	}
	Discovery []struct {
		Registry, Endpoint string
		Connected          bool
	}
	Config     struct{ Path, Since string }
	Conditions []struct{ Code, Severity, Subject, Cause, Remedy, Since, Doc string }
	Peers      []struct {
		Name, PublicKey, State, Path, LastHandshake string
		ReceivedBytes, TransmittedBytes             int64
	}
}

// statusOf returns what `spanctl status -o json` prints on a machine, and checks its exit status.
func statusOf(t *testing.T, node *harness.Machine, exit int) (d statusDocument) {
	t.Helper()
	o := node.CLI.Try("status", "-o", "json").WantStatus(t, exit)
	if err := json.Unmarshal([]byte(o.Stdout), &d); err != nil {
		t.Fatalf("%v\n%s%s", err, o.Stdout, o.Stderr)
	}
	return d
}

// TestStatus brings a mesh of three into each state.
func TestStatus(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "`spanctl status` and `wait` name each state of a mesh, with its exit status")
	m := harness.StartMesh(t, 3)
	node, cut := m.Machines[0], m.Machines[2]
	second := m.Machines[1].Address.String() + ":51820"
	node.CLI.Try("wait", "--for", "peers=2", "--timeout", "5m").WantStatus(t, 0)
	node.CLI.Try("wait", "--for", "healthy", "--timeout", "5m").WantStatus(t, 0)

	t.Run("healthy", func(t *testing.T) {
		node.CLI.Try("status").WantStatus(t, 0).WantStdout(t, "node-1     healthy, ", "\nmesh       kubespan fd", ", UDP 51820, MTU 1420, ",
			"\ncluster    ", ", 3 machines\n", "\ndiscovery  "+m.Endpoint()+" connected ", "\nconfig     machine.cue in force since ",
			"\nPEER    STATE  PATH", "\nnode-2  up     "+second, "\nnode-3  up ")
		d := statusOf(t, node, 0)
		if d.APIVersion != "spanctl/v1" || d.State != "healthy" || !d.Ready || !d.Live || d.Hostname != "node-1" || d.Mesh.Link != "kubespan" ||
			d.Mesh.Port != 51820 || d.Cluster.Machines != 3 || d.Config.Path != node.Config() || len(d.Discovery) != 1 || !d.Discovery[0].Connected {
			t.Errorf("got %+v", d)
		}
		if len(d.Peers) != 2 || d.Peers[0].Name != "node-2" || d.Peers[0].Path != second || d.Peers[0].ReceivedBytes == 0 {
			t.Errorf("the peers are %+v", d.Peers)
		}
		if other := statusOf(t, cut, 0); other.Cluster.Fingerprint != d.Cluster.Fingerprint || other.Mesh.Address == d.Mesh.Address {
			t.Errorf("the third machine has %+v, the first %+v", other, d)
		}
		node.CLI.Try("status", "-o", "yaml").WantStatus(t, 0).WantStdout(t, "apiVersion: spanctl/v1\nstate: healthy\nready: true\n")
		node.CLI.Try("status", "--check", "live").WantStatus(t, 0).WantOutput(t, "")
		node.CLI.Try("status", "--check", "ready").WantStatus(t, 0).WantOutput(t, "")
		node.CLI.Try("status", "--check", "startup").WantStatus(t, 3).WantStderr(t, `--check is "startup": want`)
	})
	t.Run("a peer is cut", func(t *testing.T) {
		cut.Net.SetLink(false)
		node.CLI.Try("wait", "--for", "condition=PeerDown", "--timeout", "5m").WantStatus(t, 0)
		node.CLI.Try("status").WantStatus(t, 1).WantStdout(t, "node-1     degraded: 1 warning\n", "\n! PeerDown node-3, for ", "More: spanctl explain PeerDown\n",
			"\nnode-2  up ", "\nnode-3  down ")
		if d := statusOf(t, node, 1); d.State != "degraded" || !d.Ready || d.Conditions[0].Doc != "docs/conditions.md#peerdown" {
			t.Errorf("got %+v", d)
		}
		node.CLI.Try("status", "--check", "ready").WantStatus(t, 0)
		node.CLI.Try("wait", "--for", "peers=2", "--timeout", "20s").WantStatus(t, 1).WantStderr(t, "timed out after 20s: 1 of 2 peers up; not up: node-3; degraded: PeerDown node-3")
		node.CLI.Try("wait", "--for", "healthy", "--timeout", "20s").WantStatus(t, 1).WantStderr(t, "timed out after 20s: degraded: PeerDown node-3")
		cut.Net.SetLink(true)
		node.CLI.Try("wait", "--for", "peer=node-3", "--timeout", "5m").WantStatus(t, 0)
		node.CLI.Try("wait", "--for", "condition=PeerDown=false", "--timeout", "5m").WantStatus(t, 0)
	})
	t.Run("the mesh is down", func(t *testing.T) {
		cut.CLI.Run("down")
		cut.CLI.Try("status").WantStdout(t, " MeshDown, for ")
		cut.CLI.Try("status", "--check", "ready").WantStatus(t, 1).WantStderr(t, "not ready")
		cut.CLI.Try("status", "--check", "live").WantStatus(t, 0)
		cut.CLI.Run("reload")
		cut.CLI.Try("wait", "--for", "ready", "--timeout", "5m").WantStatus(t, 0)
	})
	t.Run("broken", func(t *testing.T) {
		cut.CLI.Run("down")
		cut.Exec.Nodecmd("occupy-table", "180")
		cut.CLI.Try("reload")
		cut.CLI.Try("status").WantStatus(t, 2).WantStdout(t, "node-3     broken: 1 error", "\nx TableTaken", "More: spanctl explain TableTaken\n")
		cut.CLI.Try("status", "--check", "ready").WantStatus(t, 1).WantStderr(t, "not ready: broken: TableTaken")
		cut.Exec.Nodecmd("free-table", "180")
		cut.CLI.Try("wait", "--for", "condition=TableTaken=false", "--timeout", "5m").WantStatus(t, 0)
		cut.CLI.Try("wait", "--for", "ready", "--timeout", "5m").WantStatus(t, 0)
	})
	t.Run("the agent hangs", func(t *testing.T) {
		signal(t, node, unix.SIGSTOP)
		node.CLI.Try("status", "--timeout", "1s").WantStatus(t, 3).WantStderr(t, "NoAgent: the agent at ", "has not answered within 1s", "systemctl restart spanctl")
		node.CLI.Try("status", "--timeout", "1s", "--check", "live").WantStatus(t, 1)
		node.CLI.Try("wait", "--for", "ready", "--timeout", "1s").WantStatus(t, 3)
		signal(t, node, unix.SIGCONT)
		node.CLI.Try("status").WantStdout(t, "node-1     ")
	})
	t.Run("no agent", func(t *testing.T) {
		waiting := node.CLI.Start("wait", "--for", "condition=MeshDown", "--timeout", "5m")
		node.Agent.Terminate()
		waiting.AwaitOutput("no agent answers: waiting for one")
		cause := "NoAgent: nobody answers at " + node.Socket() + "; the link kubespan with 2 peers is left as it is\n"
		node.CLI.Try("status").WantStatus(t, 3).WantOutput(t, "").WantStderr(t, "spanctl: "+cause+"  spanctl run\n")
		if d := statusOf(t, node, 3); d.State != "no agent" || d.Ready || d.Live || len(d.Conditions) != 1 || d.Conditions[0].Code != "NoAgent" {
			t.Errorf("got %+v", d)
		}
		for _, check := range []string{"live", "ready"} {
			node.CLI.Try("status", "--check", check).WantStatus(t, 1).WantStderr(t, cause)
		}
		node.CLI.Try("wait", "--for", "ready", "--timeout", "1s").WantStatus(t, 3).WantStderr(t, cause)
		node.CLI.Run("down")
		node.CLI.Try("status").WantStatus(t, 3).WantStderr(t, "; there is no mesh\n")
		node.CLI.Try("get", "peers").WantStatus(t, 3).WantStderr(t, "no agent is running")
		node.Agent.Start()
		node.CLI.Run("down")
		if err := waiting.Wait(harness.Context(t)); err != nil {
			t.Error(err)
		}
	})
}

// signal sends a signal to a machine's agent.
func signal(t *testing.T, node *harness.Machine, s unix.Signal) {
	t.Helper()
	if err := unix.Kill(node.Agent.PID(), s); err != nil {
		t.Fatal(err)
	}
}

// TestFirstApply applies the first config of a machine whose agent runs already.
func TestFirstApply(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the first config of an agent is in force at once; the next waits")
	m := harness.NewMesh(t, 2)
	m.Serve()
	for _, node := range m.Machines {
		if err := os.Remove(node.Config()); err != nil {
			t.Fatal(err)
		}
		node.Agent.Start()
	}
	first, second := m.Machines[0], m.Machines[1]
	first.CLI.Try("apply", "-f", first.Files.Write("first.cue", m.Config)).WantStatus(t, 0).
		WantStdout(t, "+ link kubespan").WantStderr(t, "`spanctl status` shows how the mesh is\n")
	first.CLI.Try("wait", "--for", "ready").WantStatus(t, 0)
	first.CLI.Try("apply", "-f", first.Files.Write("next.cue", harness.Edit(m.Config, "mtu: 1390"))).WantStatus(t, 0).
		WantOutput(t, "").WantStderr(t, "not in force yet")
	second.CLI.Try("apply", "-f", second.Files.Write("first.cue", m.Config), "--mode", "staged").WantStatus(t, 0).
		WantOutput(t, "").WantStderr(t, "not in force yet")
	second.CLI.Run("reload")
	m.AwaitUp()
}

// TestSystemdIsTold starts an agent as a unit of type notify with a watchdog does.
func TestSystemdIsTold(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "systemd is told when an agent is ready, its health in a line, and that its loop turns")
	m := harness.NewMesh(t, 2)
	m.Serve()
	node := m.Machines[0]
	path := filepath.Join(node.Dir, "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = systemd.Close() }()
	// As systemd does, it reads all the time: the socket holds few messages, and the sender of more waits.
	messages := make(chan string, 4096)
	go func() {
		defer close(messages)
		message := make([]byte, 1024)
		for {
			n, err := systemd.Read(message)
			if err != nil {
				return
			}
			messages <- string(message[:n])
		}
	}()
	cmd := node.Spanctl(context.WithoutCancel(t.Context()), "run")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=3000000")
	node.Agent.StartCommand(cmd)
	// await waits until systemd was told all of these, since it was called last.
	await := func(wants ...string) {
		t.Helper()
		for ctx := harness.Context(t); len(wants) > 0; {
			select {
			case message := <-messages:
				wants = slices.DeleteFunc(wants, func(want string) bool { return message == want })
			case <-ctx.Done():
				t.Fatalf("systemd was not told %q", wants)
			}
		}
	}
	await("STATUS=starting", "READY=1", "WATCHDOG=1")
	m.Machines[1].Agent.Start()
	node.API.AwaitPeersUp(1)
	node.CLI.Run("down")
	await("STATUS=healthy: MeshDown")
	node.CLI.Run("reload")
	await("STATUS=healthy", "WATCHDOG=1")
	node.Agent.Terminate()
	await("STOPPING=1")
}
