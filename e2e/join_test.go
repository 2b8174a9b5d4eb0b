package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// invite returns what a machine prints for others to join with.
func invite(m *harness.Machine, args ...string) string {
	line := strings.TrimSpace(m.CLI.Run(append([]string{"invite"}, args...)...))
	return strings.TrimPrefix(line, "spanctl join ")
}

// TestJoinByALine has three new machines join the mesh of one.
func TestJoinByALine(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "machines join by the line that a member prints, also after an expired and a used one, and while the discovery server is replaced")
	m := harness.NewMesh(t, 1)
	store := "bolt:" + filepath.Join(m.Discovery.Dir, "discovery.db")
	m.Serve("--store", store)
	member := m.Machines[0]
	member.Agent.Start()
	fresh := make([]*harness.Machine, 3)
	for i, name := range []string{"new-1", "new-2", "new-3"} {
		fresh[i] = m.Add(name)
		fresh[i].Agent.Start()
	}

	expired := invite(member, "--expires", "1s")
	for ctx := harness.Context(t); ctx.Err() == nil && !strings.Contains(member.CLI.Run("invite", "list"), " expired "); {
	}
	fresh[0].CLI.Try("join", "--yes", expired).WantStatus(t, 1).WantStderr(t, "the invitation expired at ", "ask for another line: `spanctl invite`")
	used := invite(member)
	joined := fresh[0].CLI.Try("join", "--yes", used)
	joined.WantStatus(t, 0).WantStdout(t, "new-1", "node-1", "up").WantStderr(t, "This machine is about to join a mesh:", "stored at", "1 of 1 peer up")
	if _, err := os.Stat(filepath.Join(fresh[0].StateDir(), "join-request")); !os.IsNotExist(err) {
		t.Errorf("the request is kept: %v", err)
	}

	fresh[1].CLI.Try("join", "--yes", used).WantStatus(t, 1).WantStderr(t, "the invitation is used up: it was for 1", "with --uses for several machines")
	fresh[1].CLI.Try("join", "--yes", invite(member)).WantStatus(t, 0).WantStdout(t, "new-2")

	line := invite(member)
	m.Server.Terminate()
	last := fresh[2].CLI.Start("join", "--yes", line)
	last.AwaitOutput("waiting for " + m.Endpoint() + "/: ")
	m.Serve("--store", store)
	last.AwaitOutput("mesh ")
	m.Machines = append(m.Machines, fresh...)
	m.AwaitUp()
	m.AwaitNoDiff()
	fresh[2].Packets.Ping(fresh[0].API.MeshAddress())

	t.Run("a machine that has joined keeps its config", func(t *testing.T) {
		before := fresh[0].Files.Config()
		fresh[0].CLI.Try("join", "--yes", used).WantStatus(t, 0).WantStderr(t, "has a config of this cluster already")
		fresh[0].Files.WantConfig(t, before)
	})
	t.Run("no log has a key", func(t *testing.T) {
		_, key, _ := strings.Cut(line, "#")
		for _, p := range []*harness.Process{m.Server, member.Agent.Process, fresh[2].Agent.Process, last} {
			harness.WantNoText(t, "a log", p.Output(), key)
		}
	})
}

// TestJoinAsksOnATerminal declines first: nothing is changed, and the line is good for the same machine
// again.
func TestJoinAsksOnATerminal(t *testing.T) {
	t.Parallel()
	m := harness.StartMesh(t, 1)
	fresh := m.Add("new-1")
	fresh.Agent.Start()
	x := harness.StartTerminal(t, fresh)
	join := fresh.Binary() + " join '" + invite(m.Machines[0]) + "'"
	x.Enter(join)
	x.Await("about to join a mesh", "Join? [y/N]")
	x.Enter("n")
	x.Await("not joined: nothing was changed")
	if _, err := os.Stat(fresh.Config()); !os.IsNotExist(err) {
		t.Errorf("there is a config: %v", err)
	}
	harness.WantText(t, "the list", m.Machines[0].CLI.Run("invite", "list"), "1 of 1   used")
	x.Enter("clear")
	x.Enter(join)
	x.Await("Join? [y/N]")
	x.Enter("y")
	x.Await("1 of 1 peer up", "new-1", "healthy")
}
