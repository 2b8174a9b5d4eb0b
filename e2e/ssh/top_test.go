package ssh_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestTopOfAnotherMachine looks at a machine through ssh.
func TestTopOfAnotherMachine(t *testing.T) {
	t.Parallel()
	requireSSH(t)
	harness.Scenario(t, "`spanctl top` shows another machine through ssh, with one login, and again once its agent is back")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	operator, shown := m.Discovery, m.Machines[0]
	key := filepath.Join(operator.Dir, "key")
	keygen(t, key)
	sshd := serveSSH(t, shown, key+".pub")
	config := clientConfig(operator, key)
	x := harness.StartTerminal(t, operator)
	line := "SPANCTL_SSH='ssh -F " + config + "' " + operator.Binary() + " top --host root@" + shown.Address.String()

	x.Resize(120, 24)
	x.Begin(line)
	x.Await("node-1     healthy, ", "1/1 up", "> node-2  up ", "PeerUp node-2")
	x.Press("Enter")
	x.Await("PEER node-2", m.Machines[1].Address.String()+":51820")
	x.Press("d")
	x.Await("no difference")
	x.Press("d")
	if n := strings.Count(sshd.Output(), "Accepted publickey"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	shown.Agent.Terminate()
	x.Await("no agent: 1 error", "x NoAgent", "`spanctl run`")
	shown.Agent.Start()
	x.Await("healthy, ", "1/1 up")
	x.Press("q")
	x.WantRestored(line)
}
