package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// wantLines fails the test unless the output has a line that begins with each text.
func wantLines(t *testing.T, output string, begins ...string) {
	t.Helper()
	for _, want := range begins {
		if !strings.Contains("\n"+output, "\n"+want) {
			t.Errorf("no line begins with %q:\n%s", want, output)
		}
	}
}

// TestDoctor has the doctor look at a machine without anything, at one of a mesh that is well, and at
// one that is not.
func TestDoctor(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "`spanctl doctor` says what is wrong on a machine and what to do, with and without an agent")
	m := harness.NewMesh(t, 2)
	m.Serve()
	node := m.Machines[0]
	node.Files.WriteConfig(harness.Edit(m.Config, "relay: forwarding: offer: true"))

	bare := m.Add("bare")
	bare.CLI.Try("doctor").WantStatus(t, 2).WantStdout(t, "skip agent nobody answers at", "fail config "+bare.Config()+" is missing; `spanctl apply -f FILE`", "skip port there is no config")

	t.Run("the port is taken", func(t *testing.T) {
		listener := node.Exec.StartNodecmd("listen", "51820")
		o := node.CLI.Try("doctor").WantStatus(t, 2)
		wantLines(t, o.Stdout, "skip agent", "ok   config", "fail port UDP 51820 is taken by ", "warn forwarding relay.forwarding.offer is set", "ok   discovery "+m.Endpoint())
		listener.Terminate()
	})

	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	m.AwaitUp()
	t.Run("a healthy mesh", func(t *testing.T) {
		o := m.Machines[1].CLI.Try("doctor").WantStatus(t, 0)
		wantLines(t, o.Stdout, "ok   agent answers at", "ok   config", "ok   rights the agent, pid ", "ok   wireguard", "ok   modules", "ok   ipv6", "ok   rp_filter",
			"skip forwarding", "ok   rules", "ok   port UDP 51820 is ", "ok   files", "ok   dns", "skip tls", "ok   clock", "ok   discovery", "ok   mtu 1420 bytes pass to node-1")
	})
	t.Run("much is wrong", func(t *testing.T) {
		node.Exec.Nodecmd("drop-large", "1460") // 60 bytes are WireGuard's
		m.Server.Terminate()
		if err := os.Chmod(node.Config(), 0o644); err != nil {
			t.Fatal(err)
		}
		identity := filepath.Join(node.StateDir(), "kubespan-identity.yaml")
		if err := os.WriteFile(identity, []byte("garbage\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		o := node.CLI.Try("doctor", "-o", "json").WantStatus(t, 2)
		var report struct {
			Checks []struct{ Grade, Check, What, Remedy string }
		}
		if err := json.Unmarshal([]byte(o.Stdout), &report); err != nil {
			t.Fatal(err)
		}
		var lines strings.Builder
		for _, c := range report.Checks {
			lines.WriteString(c.Grade + " " + c.Check + " " + c.What + ", " + c.Remedy + "\n")
		}
		// A warning, or an error once the agent has read it too.
		harness.WantText(t, "doctor", lines.String(), " identity "+identity+": is not YAML with the fields of this file")
		wantLines(t, lines.String(), "warn forwarding relay.forwarding.offer is set", "warn files "+node.Config()+" has mode 0644: others may read it, `chmod 600 "+node.Config()+"`",
			"fail discovery "+m.Endpoint()+": connection refused", "skip clock", "warn mtu 1420 bytes to node-2 are lost, 1392 pass, set machine.network.kubespan.mtu: 1392 here and at node-2")
	})
}
