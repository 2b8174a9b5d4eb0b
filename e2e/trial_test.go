package e2e_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// trialTime is how long a trial is that is to end by itself: longer than it takes to
// see that the path is cut.
const trialTime = 2*aWhile + time.Second

var trial = trialTime.String()

// disabled is a config with which the machine leaves the mesh.
func disabled(config string) string {
	return strings.Replace(config, "enabled: true", "enabled: false", 1)
}

// stored is the machine's config file.
func (m *machine) stored() string {
	m.t.Helper()
	text, err := os.ReadFile(m.Config())
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// TestTrialOfAConfig tries configs that cut the way by which the operator came.
func TestTrialOfAConfig(t *testing.T) {
	scenario(t, "a config that cuts the operator's own path is tried, and rolled back by itself")
	m := startMesh(t, 2)
	m.awaitUp()
	node, operator := m.machines[0], m.machines[1]
	address := node.meshAddress()
	cut := node.file("cut.cue", disabled(m.config))
	try := func(timeout string) {
		t.Helper()
		o := node.try("apply", "-f", cut, "--mode", "try", "--timeout", timeout)
		if o.status != 0 || !strings.Contains(o.stdout, "- link kubespan") || !strings.Contains(o.stderr, "`spanctl confirm` keeps it") {
			t.Fatalf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		if operator.answers(address) {
			t.Fatal("the path is not cut")
		}
	}
	back := func(t *testing.T) {
		t.Helper()
		operator.ping(address)
		m.awaitUp()
		if node.stored() != m.config {
			t.Errorf("the config file is\n%s", node.stored())
		}
		m.diffsAreClean()
	}

	t.Run("with an agent", func(t *testing.T) {
		node.after(func() { try(trial) }, "was not confirmed")
		back(t)
	})
	t.Run("the agent is killed meanwhile", func(t *testing.T) {
		try(trial)
		node.killAgent()
		node.startAgent()
		node.await(node.agent, "was not confirmed")
		back(t)
	})
	t.Run("the trial ends while no agent runs", func(t *testing.T) {
		try(trial)
		node.killAgent()
		<-time.After(trialTime)
		node.startAgent()
		back(t)
	})
	t.Run("nothing else is applied meanwhile", func(t *testing.T) {
		try("5m")
		for _, args := range [][]string{
			{"apply", "-f", cut}, {"apply", "-f", cut, "--immediate"}, {"apply", "-f", cut, "--mode", "try"},
		} {
			if o := node.try(args...); o.status != 1 || !strings.Contains(o.stderr, "`spanctl confirm` keeps it, `spanctl rollback` ends it") {
				t.Errorf("%v: status %d\n%s%s", args, o.status, o.stdout, o.stderr)
			}
		}
		if history := node.run("history"); !strings.Contains(history, "on trial until") {
			t.Errorf("the history is\n%s", history)
		}
		node.run("rollback")
		back(t)
	})
	t.Run("and confirmed", func(t *testing.T) {
		kept := edit(m.config, "mtu: 1390")
		node.run("apply", "-f", node.file("kept.cue", kept), "--mode", "try", "--timeout", trial)
		node.run("confirm")
		<-time.After(trialTime)
		if o := node.try("confirm"); o.status != 1 || !strings.Contains(o.stderr, "no config is on trial") {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		node.awaitClean()
		if node.stored() != kept {
			t.Errorf("the config file is\n%s", node.stored())
		}
	})
}

// TestTrialWithoutAgent does the same by commands alone.
func TestTrialWithoutAgent(t *testing.T) {
	scenario(t, "a config is tried without an agent")
	m := newMesh(t, 2)
	m.serve()
	node, operator := m.machines[0], m.machines[1]
	operator.startAgent()
	node.awaitDiscovered(operator)
	node.run("apply", "-f", node.Config(), "--immediate")
	address := node.linkAddress()
	operator.ping(address)
	cut := node.file("cut.cue", disabled(m.config))

	t.Run("and rolled back", func(t *testing.T) {
		o := node.try("apply", "-f", cut, "--mode", "try", "--timeout", trial)
		if o.status != 1 || !strings.Contains(o.stdout, "- link kubespan") || !strings.Contains(o.stdout, "+ link kubespan") ||
			!strings.Contains(o.stderr, "not confirmed: the config before is in force again") {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		operator.ping(address)
		if node.stored() != m.config {
			t.Errorf("the config file is\n%s", node.stored())
		}
	})
	t.Run("and rolled back when it is interrupted", func(t *testing.T) {
		trying := node.start("apply", "-f", cut, "--mode", "try", "--timeout", "5m")
		node.await(trying, "on trial until")
		// What hangs up with the path does not end it.
		if err := unix.Kill(trying.PID(), unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
		_ = trying.Stop(sigterm) // its status says that nothing was confirmed
		if !strings.Contains(trying.Output(), "+ link kubespan") {
			t.Errorf("it said\n%s", trying.Output())
		}
		operator.ping(address)
	})
	t.Run("and confirmed", func(t *testing.T) {
		trying := node.start("apply", "-f", node.file("kept.cue", edit(m.config, "mtu: 1390")), "--mode", "try", "--timeout", "5m")
		node.await(trying, "on trial until")
		node.run("confirm")
		if err := trying.Wait(withPatience(t)); err != nil {
			t.Errorf("%v: %s", err, trying.Output())
		}
		operator.ping(address)
		if o := node.try("diff"); o.status != 0 {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
	})
	t.Run("and the first config of all", func(t *testing.T) {
		fresh := m.add(t, "fresh")
		first := fresh.file("first.cue", m.config)
		if o := fresh.try("apply", "-f", first, "--mode", "try", "--timeout", trial); o.status != 1 || !strings.Contains(o.stdout, "- link kubespan") {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		if _, err := os.Stat(fresh.Config()); !os.IsNotExist(err) {
			t.Errorf("there is a config: %v", err)
		}
	})
}

// TestHistory puts configs in force in several ways and goes back.
func TestHistory(t *testing.T) {
	scenario(t, "configs are put in force in several ways, and rolled back")
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	first, second, third := m.config, edit(m.config, "mtu: 1390"), edit(m.config, "mtu: 1380")

	node.run("apply", "-f", node.file("second.cue", second), "--immediate")
	node.after(func() { node.write(third) }, "mtu 1390 -> 1380")
	lines := strings.Split(strings.TrimSpace(node.run("history")), "\n")
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
		if o := node.try(append([]string{"diff"}, c.args...)...); o.status != 1 || !strings.Contains(o.stdout, c.want) {
			t.Errorf("diff %v: status %d\n%s%s", c.args, o.status, o.stdout, o.stderr)
		}
	}
	m.keepPinging(func() {
		if out := node.run("rollback"); !strings.Contains(out, "mtu 1380 -> 1390") || node.stored() != second {
			t.Errorf("it did %s\nand the file is\n%s", out, node.stored())
		}
		if out := node.run("rollback", "1"); !strings.Contains(out, "mtu 1390 -> 1420") || node.stored() != first {
			t.Errorf("it did %s\nand the file is\n%s", out, node.stored())
		}
	})
	node.awaitClean()
	if words := node.run("__complete", "rollback", ""); !strings.Contains(words, "3\tfile ") {
		t.Errorf("the revisions are completed by\n%s", words)
	}
	if words := node.run("__complete", "get", "kubespanpeerspecs", ""); !strings.Contains(words, "=\tnode-2\n") {
		t.Errorf("the peers are completed by\n%s", words)
	}
	if o := node.try("rollback", "99"); o.status != 1 || !strings.Contains(o.stderr, "there is no such config in the history: 99") {
		t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
	}

	t.Run("without an agent", func(t *testing.T) {
		stop(t, node.agent)
		if out := node.run("rollback", "3"); !strings.Contains(out, "mtu 1420 -> 1380") || node.stored() != third {
			t.Errorf("it did %s\nand the file is\n%s", out, node.stored())
		}
		if history := node.run("history"); !strings.Contains(history, "rollback-3") {
			t.Errorf("the history is\n%s", history)
		}
		node.ping(m.machines[1].meshAddress())
	})
}

// TestAutoAppliesWhatCutsNothing lets the plan decide.
func TestAutoAppliesWhatCutsNothing(t *testing.T) {
	scenario(t, "what cuts traffic is said before, and is staged by --mode auto")
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	alone := func(t *testing.T) {
		t.Helper()
		harmless, cut := node.file("harmless.cue", edit(m.config, "mtu: 1390")), node.file("cut.cue", disabled(m.config))
		if o := node.try("apply", "-f", harmless, "--dry-run"); o.status != 0 || !strings.Contains(o.stderr, "this cuts no traffic") {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		if out := node.run("apply", "-f", harmless, "--mode", "auto"); !strings.Contains(out, "mtu 1420 -> 1390") {
			t.Errorf("it did %s", out)
		}
		for _, args := range [][]string{{"--dry-run"}, {"--mode", "auto"}} {
			o := node.try(append([]string{"apply", "-f", cut}, args...)...)
			if o.status != 0 || !strings.Contains(o.stderr, "all traffic through the mesh: link kubespan is removed") {
				t.Errorf("%v: status %d\n%s%s", args, o.status, o.stdout, o.stderr)
			}
		}
		node.ping(m.machines[1].meshAddress())
		if !strings.Contains(node.stored(), "enabled: false") {
			t.Errorf("the config is not staged:\n%s", node.stored())
		}
	}
	t.Run("with an agent", alone)
	node.run("apply", "-f", node.file("first.cue", m.config), "--immediate")
	stop(t, node.agent)
	t.Run("without an agent", alone)
}
