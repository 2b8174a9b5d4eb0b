package e2e_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"golang.org/x/sys/unix"
)

const (
	// shortTrial is the length of a trial that ends by itself.
	shortTrial = 2 * time.Second
	// longTrial is the length of a trial within which the test does something, also on a
	// busy machine.
	longTrial = 15 * time.Second
)

// TestTrialOfAConfig tries configs that cut the operator's own path.
func TestTrialOfAConfig(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a config that cuts the operator's own path is tried, and rolled back automatically")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, operator := m.Machines[0], m.Machines[1]
	address := node.API.MeshAddress()
	cut := node.Files.Write("cut.cue", harness.Disabled(m.Config))
	try := func(timeout string) {
		t.Helper()
		node.CLI.Try("apply", "-f", cut, "--mode", "try", "--timeout", timeout).
			WantStatus(t, 0).WantStdout(t, "- link kubespan").WantStderr(t, "`spanctl confirm` keeps it")
	}
	// whileCut runs do, which cuts the path and restores it, under a stream of pings.
	whileCut := func(t *testing.T, do func()) {
		t.Helper()
		pinging := operator.Packets.KeepPinging(address)
		do()
		operator.Packets.Ping(address)
		if pings := pinging.Stop(); pings.Lost() == 0 {
			t.Errorf("all %d pings were answered: the path was not cut", pings.Sent)
		}
		m.AwaitUp()
		node.Files.WantConfig(t, m.Config)
		m.AwaitNoDiff()
	}

	t.Run("with an agent", func(t *testing.T) {
		whileCut(t, func() {
			node.Agent.AwaitAfter(func() { try(shortTrial.String()) }, "not confirmed")
		})
	})
	t.Run("the agent is killed during the trial", func(t *testing.T) {
		whileCut(t, func() {
			try(longTrial.String())
			node.Agent.Kill()
			node.Agent.Start()
			node.Agent.AwaitOutput("not confirmed")
		})
	})
	t.Run("the trial ends while no agent runs", func(t *testing.T) {
		whileCut(t, func() {
			try(shortTrial.String())
			node.Agent.Kill()
			<-time.After(shortTrial)
			node.Agent.Start()
		})
	})
	t.Run("nothing else is applied during the trial", func(t *testing.T) {
		whileCut(t, func() {
			try("5m")
			if !operator.Packets.Blocked(address) {
				t.Error("the path is not cut")
			}
			for _, args := range [][]string{
				{"apply", "-f", cut}, {"apply", "-f", cut, "--immediate"}, {"apply", "-f", cut, "--mode", "try"},
			} {
				node.CLI.Try(args...).WantStatus(t, 1).WantStderr(t, "`spanctl confirm` keeps it, `spanctl rollback` ends it")
			}
			harness.WantText(t, "the history", node.CLI.Run("history"), "on trial until")
			node.CLI.Run("rollback")
		})
	})
	t.Run("the mesh is taken down during the trial", func(t *testing.T) {
		whileCut(t, func() {
			try(shortTrial.String())
			node.CLI.Run("down")
			node.Files.WantConfig(t, m.Config)
			<-time.After(shortTrial)
			node.CLI.Try("confirm").WantStatus(t, 1).WantStderr(t, "no config is on trial")
			if node.Net.HasLink() {
				t.Error("the mesh is up after the time of the trial")
			}
			node.CLI.Run("reload")
		})
	})
	t.Run("and it is confirmed", func(t *testing.T) {
		kept := harness.Edit(m.Config, "mtu: 1390")
		node.CLI.Run("apply", "-f", node.Files.Write("kept.cue", kept), "--mode", "try", "--timeout", longTrial.String())
		node.CLI.Run("confirm")
		<-time.After(longTrial)
		node.CLI.Try("confirm").WantStatus(t, 1).WantStderr(t, "no config is on trial")
		node.CLI.AwaitNoDiff()
		node.Files.WantConfig(t, kept)
	})
}

// TestTrialOfTheFirstConfig kills the agent of a machine whose first config is on trial.
func TestTrialOfTheFirstConfig(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the first config of a machine is tried, and its agent is killed: there is no mesh")
	m := harness.NewMesh(t, 1)
	m.Serve()
	fresh := m.Add("fresh")
	first := fresh.Files.Write("first.cue", m.Config)
	fresh.Agent.Start()
	fresh.CLI.Run("apply", "-f", first, "--mode", "try", "--timeout", shortTrial.String())
	fresh.Agent.Kill()
	<-time.After(shortTrial)
	fresh.Agent.Start()
	fresh.Agent.AwaitOutput("not confirmed")
	// It answers once it has ended the trial.
	fresh.CLI.Try("confirm").WantStatus(t, 1).WantStderr(t, "no config is on trial")
	if fresh.Net.HasLink() {
		t.Error("there is a mesh")
	}
	if _, err := os.Stat(fresh.Config()); !os.IsNotExist(err) {
		t.Errorf("there is a config: %v", err)
	}
	harness.WantText(t, "the history", fresh.CLI.Run("history"), "not confirmed")
	fresh.CLI.Run("apply", "-f", first, "--immediate")
}

// TestTrialWithoutAgent tries configs with commands alone.
func TestTrialWithoutAgent(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a config is tried without an agent")
	m := harness.NewMesh(t, 2)
	m.Serve()
	node, operator := m.Machines[0], m.Machines[1]
	operator.Agent.Start()
	node.CLI.AwaitDiscovered(operator)
	node.CLI.Run("apply", "-f", node.Config(), "--immediate")
	address := node.Net.MeshAddress()
	operator.Packets.Ping(address)
	cut := node.Files.Write("cut.cue", harness.Disabled(m.Config))

	t.Run("and it is rolled back", func(t *testing.T) {
		node.CLI.Try("apply", "-f", cut, "--mode", "try", "--timeout", shortTrial.String()).
			WantStatus(t, 1).WantStdout(t, "- link kubespan", "+ link kubespan").WantStderr(t, "not confirmed: the config before is in force again")
		operator.Packets.Ping(address)
		node.Files.WantConfig(t, m.Config)
	})
	t.Run("and it is rolled back on an interrupt", func(t *testing.T) {
		trying := node.CLI.Start("apply", "-f", cut, "--mode", "try", "--timeout", "5m")
		trying.AwaitOutput("on trial until")
		// A hangup, which comes when the path is cut, does not end the trial.
		if err := unix.Kill(trying.PID(), unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
		_ = trying.Stop(unix.SIGTERM) // its status says that nothing was confirmed
		if !strings.Contains(trying.Output(), "+ link kubespan") {
			t.Errorf("the link is not restored:\n%s", trying.Output())
		}
		operator.Packets.Ping(address)
	})
	t.Run("and it is confirmed", func(t *testing.T) {
		trying := node.CLI.Start("apply", "-f", node.Files.Write("kept.cue", harness.Edit(m.Config, "mtu: 1390")), "--mode", "try", "--timeout", "5m")
		trying.AwaitOutput("on trial until")
		node.CLI.Run("confirm")
		if err := trying.Wait(harness.Context(t)); err != nil {
			t.Errorf("%v: %s", err, trying.Output())
		}
		operator.Packets.Ping(address)
		node.CLI.Try("diff").WantStatus(t, 0)
	})
	t.Run("the first config of a machine", func(t *testing.T) {
		fresh := m.Add("fresh")
		first := fresh.Files.Write("first.cue", m.Config)
		fresh.CLI.Try("apply", "-f", first, "--mode", "try", "--timeout", shortTrial.String()).WantStatus(t, 1).WantStdout(t, "- link kubespan")
		if _, err := os.Stat(fresh.Config()); !os.IsNotExist(err) {
			t.Errorf("there is a config: %v", err)
		}
	})
}

// TestHistory applies configs in several ways and rolls back.
func TestHistory(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "configs are applied in several ways, and rolled back")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	first, second, third := m.Config, harness.Edit(m.Config, "mtu: 1390"), harness.Edit(m.Config, "mtu: 1380")

	node.CLI.Run("apply", "-f", node.Files.Write("second.cue", second), "--immediate")
	node.Agent.AwaitAfter(func() { node.Files.WriteConfig(third) }, "mtu 1390 -> 1380")
	lines := strings.Split(strings.TrimSpace(node.CLI.Run("history")), "\n")
	for i, want := range []string{"REVISION", "3 ", "2 ", "1 "} {
		if !strings.HasPrefix(lines[i], want) {
			t.Fatalf("the history is\n%s", strings.Join(lines, "\n"))
		}
	}
	for i, how := range []string{"HOW", "file", "apply", "start"} {
		if !strings.Contains(lines[i], how) {
			t.Errorf("line %d has no %s:\n%s", i, how, strings.Join(lines, "\n"))
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--from", "1", "--to", "2"}, " machine.network.kubespan\n-  mtu 1420\n+  mtu 1390\n"},
		{[]string{"--from", "2"}, "-  mtu 1390\n+  mtu 1380\n"},
		{[]string{"--to", "1"}, " link kubespan\n-  mtu 1380\n+  mtu 1420\n"},
	} {
		node.CLI.Try(append([]string{"diff"}, c.args...)...).WantStatus(t, 1).WantStdout(t, c.want)
	}
	m.WhilePinging(func() {
		harness.WantText(t, "rollback", node.CLI.Run("rollback"), "mtu 1380 -> 1390")
		node.Files.WantConfig(t, second)
		harness.WantText(t, "rollback", node.CLI.Run("rollback", "1"), "mtu 1390 -> 1420")
		node.Files.WantConfig(t, first)
	})
	node.CLI.AwaitNoDiff()
	if words := node.CLI.Run("__complete", "rollback", ""); !strings.Contains(words, "3\tfile ") {
		t.Errorf("the revisions are completed by\n%s", words)
	}
	if words := node.CLI.Run("__complete", "get", "kubespanpeerspecs", ""); !regexp.MustCompile(`(?m)^node-2\t[A-Za-z0-9+/]{43}=$`).MatchString(words) {
		t.Errorf("the peers are completed by\n%s", words)
	}
	node.CLI.Try("rollback", "99").WantStatus(t, 1).WantStderr(t, "there is no such config in the history: 99")

	t.Run("without an agent", func(t *testing.T) {
		node.Agent.Terminate()
		harness.WantText(t, "rollback", node.CLI.Run("rollback", "3"), "mtu 1420 -> 1380")
		node.Files.WantConfig(t, third)
		if history := node.CLI.Run("history"); !strings.Contains(history, "rollback-3") {
			t.Errorf("the history is\n%s", history)
		}
		node.Packets.Ping(m.Machines[1].API.MeshAddress())
	})
}

// TestAutoAppliesWhatCutsNothing applies with --mode auto.
func TestAutoAppliesWhatCutsNothing(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the plan says what cuts traffic, and --mode auto stages that")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	alone := func(t *testing.T) {
		t.Helper()
		harmless, cut := node.Files.Write("harmless.cue", harness.Edit(m.Config, "mtu: 1390")), node.Files.Write("cut.cue", harness.Disabled(m.Config))
		node.CLI.Try("apply", "-f", harmless, "--dry-run").WantStatus(t, 0).WantStderr(t, "this cuts no traffic")
		if out := node.CLI.Run("apply", "-f", harmless, "--mode", "auto"); !strings.Contains(out, "mtu 1420 -> 1390") {
			t.Errorf("apply printed %s", out)
		}
		for _, args := range [][]string{{"--dry-run"}, {"--mode", "auto"}} {
			node.CLI.Try(append([]string{"apply", "-f", cut}, args...)...).WantStatus(t, 0).WantStderr(t, "all traffic through the mesh: link kubespan is removed")
		}
		node.Packets.Ping(m.Machines[1].API.MeshAddress())
		if !strings.Contains(node.Files.Config(), "enabled: false") {
			t.Errorf("the config is not staged:\n%s", node.Files.Config())
		}
	}
	t.Run("with an agent", alone)
	node.CLI.Run("apply", "-f", node.Files.Write("first.cue", m.Config), "--immediate")
	node.Agent.Terminate()
	t.Run("without an agent", alone)
}
